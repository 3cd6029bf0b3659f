"""Measures one cell that is not of the time pass. What becomes of it is a result: values, a skip, or a failure's cause."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from math import log, prod

import numpy as np
import torch

from scorebench.reference_models.model import ExactModel, model_digest
from scorebench.reference_models.network import NetworkModel
from scorebench.solvers.drive import solve
from scorebench.solvers.latent_codes import RoundTrip, round_trip
from scorebench.solvers.likelihood import log_likelihood
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Count

from . import blocks, references
from .blocks import in_batches, total
from .cells import Cell
from .flops import flops_of
from .moments import known
from .placement import device_name
from .provenance import provenance
from .store import Arrays, Damaged, Json, Store, Unwritable

STRIP = 8
OF_FIRST = ("strip", "error")  # arrays of the first noise seed alone; of others there is one for each
Say = Callable[[str], None]
REMEMBERED = 4  # references, as cells of a model follow one another
_last: dict[tuple[Hashable, ...], references.Reference] = {}


@dataclass(frozen=True)
class Result:
    """What a cell becomes: "ok", "skipped" or "failed", why, what was spent, and the arrays."""

    status: str
    message: str = ""
    counts: Json = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)


def measure(cell: Cell, store: Store, say: Say) -> None:
    """Measure one cell and write it."""
    started = datetime.now(UTC)
    write(cell, store, compute(cell, store, say), started)
    if len(blocks.of(cell.config["n"])) > 1:
        blocks.drop(cell.key, store)


def compute(cell: Cell, store: Store, say: Say) -> Result:
    """The result of one cell; only what keeps the store from being written is raised."""
    if cell.obstacle:
        return skipped(cell)
    try:
        return PASSES[cell.config["pass"]](cell, store, say)
    except Unwritable:
        raise
    except Exception as error:  # whatever a solver, of the user's too, may raise costs this cell alone
        return Result("failed", cause(error))


def skipped(cell: Cell) -> Result:
    return Result("skipped", cell.obstacle)


def cause(error: Exception) -> str:
    """An error as the one line of a row."""
    return f"{type(error).__name__}: {' '.join(str(error).splitlines()[:1])}"


def write(
    cell: Cell, store: Store, result: Result, started: datetime, threads: int | None = None, share: int = 1
) -> None:
    """Write a result with its provenance; `share` cells were measured together since `started`."""
    origin = provenance(started, device_name(cell.device), threads)
    origin["seconds"] = round(origin["seconds"] / share, 3)
    body = {"config": cell.config, "counts": result.counts, "status": result.status, "message": result.message}
    store.write_cell(cell.key, body | {"provenance": origin}, result.arrays)


def settled(kept: Json, limit: float = 0.0) -> bool:
    """Whether a kept cell stands: a failure is tried again unless it diverged, or ran longer than `limit` seconds allow."""
    if kept["status"] != "failed" or kept["message"].startswith("diverged"):
        return True
    return 0 < limit <= float(kept["counts"].get("limit", 0.0))


def _sample(cell: Cell, store: Store, say: Say) -> Result:
    rows = blocks.of(cell.config["n"])
    many = len(rows) > 1
    whole = blocks.merged([(kept_block if many else sample_block)(cell, block, store, say) for block in rows])
    failure = "" if whole.finite else "diverged: a state is not finite"
    return _result(cell, whole.count, whole.arrays, whole.batch, failure)


def kept_block(cell: Cell, rows: slice, store: Store, say: Say) -> Arrays:
    """A block of a large cell, kept in the store until the cell is written: an interrupted run has it already."""
    name = blocks.name(cell.key, rows)
    try:
        return store.read_npz(name)
    except Damaged:
        say(f"{cell.label()}: samples {rows.start} to {rows.stop - 1}")  # which also tells a watcher that it goes on
        store.write_npz(name, sample_block(cell, rows, store, say))
        return store.read_npz(name)


def sample_block(cell: Cell, rows: slice, store: Store, say: Say) -> Arrays:
    """What becomes of a block of a cell's samples, by every noise seed."""
    config, model, index = cell.config, cell.model, torch.arange(rows.start, rows.stop)
    grid, options, n = cell.grid(), config["options"], len(index)
    truth = torch.from_numpy(solution(cell, store, say, rows).solution) if config["kind"] == "ode" else None

    def part(some: slice, noise_of: int) -> tuple[Arrays, Count, bool]:
        """A batch, from its latents to what is kept of it: its images are dropped."""
        own = index[some]
        x = references.latents(model, len(own), config["seed"], cell.dtype, cell.device, int(own[0]))
        noise = Noise(noise_of, own, model.shape, cell.dtype, cell.device)
        with torch.no_grad():
            end = solve(cell.runs, cell.info, grid, x, options=options, noise=noise, denoise=config["denoise"])
        arrays = _looked_at(cell, end.x)
        arrays["strip"] = end.x[: max(STRIP - some.start, 0)].float().cpu().numpy()
        if truth is not None:
            arrays["error"] = references.rms(end.x.cpu(), truth[some])
        return arrays, end.count, end.finite and bool(torch.isfinite(end.x).all())

    seeds = [noise_seed(config["seed"], number) for number in range(config.get("noise_seeds", 1))]
    solved = [in_batches(partial(part, noise_of=noise_of), n) for noise_of in seeds]
    batch, count = min(batch for _, batch in solved), total([p[1] for parts, _ in solved for p in parts])
    sets = [{name: np.concatenate([p[0][name] for p in parts]) for name in parts[0][0]} for parts, _ in solved]
    arrays = {"index": index.numpy(), "nfe": count.evaluations.numpy().reshape(len(seeds), n)}
    for name, first in sets[0].items():
        arrays[name] = first if name in OF_FIRST else np.stack([found[name] for found in sets])
    finite = all(p[2] for parts, _ in solved for p in parts)
    return arrays | blocks.spent(count, batch if batch < n else blocks.BLOCK, finite)


def noise_seed(seed: int, number: int) -> int:
    """The seed of a solve's noise: that of the latents for the first, and others for the same latents again."""
    return seed + (number << 32)


def _looked_at(cell: Cell, x: torch.Tensor) -> Arrays:
    """What metrics look at of samples x (n, *d): their features, and log p at t_min (n,) where it is known."""
    arrays = {"features": cell.extractor.extract(x)}
    arrays |= {extractor.name: extractor.extract(x) for extractor in cell.more}
    if isinstance(cell.model, ExactModel) and known(cell.model):
        t = torch.tensor(cell.model.process.t_min, dtype=torch.float64)
        arrays["log_p"] = cell.model.log_prob(x.cpu().double(), t).numpy()
    return arrays


def _likelihood(cell: Cell, store: Store, say: Say) -> Result:
    config, model = cell.config, cell.model
    n, seed = config["n"], config["seed"]
    x, probes = references.images(model, n, seed, cell.dtype, cell.device), references.shared_probes(model, n, seed)
    grid, options = cell.grid(), config["options"]

    def part(rows: slice) -> tuple[np.ndarray, Count]:
        z = None if probes is None else probes[rows]
        with torch.no_grad():
            result = log_likelihood(model, cell.info, grid, x[rows], options=options, probes=z, prior=cell.prior)
        return result.log_p.numpy(), result.count

    parts, batch = in_batches(part, n)
    log_p, count = np.concatenate([p[0] for p in parts]), total([p[1] for p in parts])
    truth = _remembered(
        (store.root, "log p", model_digest(model), model.name, n, seed, cell.device),
        lambda: in_double(cell, lambda: references.log_p(model, n, seed, store, say, cell.device)),
    )
    arrays = {
        "index": np.arange(n),
        "nfe": count.evaluations.numpy(),
        "log_p": log_p,
        "error": (truth.solution - log_p) / (prod(model.shape) * log(2)),
    }
    return _result(cell, count, arrays, batch, "" if np.isfinite(log_p).all() else "diverged: log p is not finite")


def _round_trip(cell: Cell, store: Store, say: Say) -> Result:
    config, n, grid = cell.config, cell.config["n"], cell.grid()
    x = references.images(cell.model, n, config["seed"], cell.dtype, cell.device)

    def part(rows: slice) -> RoundTrip:
        with torch.no_grad():
            return round_trip(cell.model, cell.info, grid, x[rows], config["options"])

    parts, batch = in_batches(part, n)
    count = total([p.count for p in parts])
    arrays = {
        "index": np.arange(n),
        "nfe": count.evaluations.numpy(),
        "error": torch.cat([p.error for p in parts]).numpy(),
    }
    return _result(
        cell, count, arrays, batch, "" if all(p.finite for p in parts) else "diverged: a state is not finite"
    )


PASSES = {"sample": _sample, "likelihood": _likelihood, "round-trip": _round_trip}


def _result(cell: Cell, count: Count, arrays: Arrays, batch: int, failure: str) -> Result:
    evaluations = count.evaluations.double()
    counts = {
        "nfe_mean": float(evaluations.mean()),
        "nfe_max": int(evaluations.max()),
        "calls": count.calls,
        "vjps": count.vjps,
        "jvps": count.jvps,
        "flops": flops_of(cell).spent(float(evaluations.mean()), count.vjps),
        "batch": batch,
    }
    halved = f"in batches of {batch}: memory ran out with more" if batch < min(cell.config["n"], blocks.BLOCK) else ""
    return Result("failed" if failure else "ok", failure or halved, counts | cell.grid_cost(), arrays)


def solution(cell: Cell, store: Store, say: Say, rows: slice) -> references.Reference:
    """The reference solution of a block of a cell's samples; processes that need it at once divide its parts."""
    model, seed = cell.model, cell.config["seed"]
    denoise = cell.config["denoise"] if cell.config["pass"] == "sample" else None

    def part(rows: slice) -> references.Reference:
        n, first = rows.stop - rows.start, rows.start
        return references.solution(model, n, seed, store, say, cell.device, denoise, first)

    work = {
        f"reference {model.name} {denoise} {seed} {some.start} {some.stop}": partial(part, some)
        for some in references.parts(rows, cell.device)
    }
    waiting = partial(say, f"another run makes {model.name}'s reference")
    return _remembered(
        (store.root, model_digest(model), cell.device, *work),
        lambda: in_double(cell, lambda: references.joined(store.claims.divide(work, waiting))),
    )


def _remembered(what: tuple[Hashable, ...], make: Callable[[], references.Reference]) -> references.Reference:
    """A reference that one of the last cells of this process had too is not read again."""
    if what not in _last:
        _last[what] = make()
        while len(_last) > REMEMBERED:
            del _last[next(iter(_last))]
    return _last[what]


def in_double(cell: Cell, compute: Callable[[], references.Reference]) -> references.Reference:
    """Run a float64 reference on a network that otherwise works in the cell's precision."""
    if not isinstance(cell.model, NetworkModel):
        return compute()
    cell.model.to(torch.float64, cell.device)
    try:
        with torch.no_grad():
            return compute()
    finally:
        cell.model.to(cell.dtype, cell.device)

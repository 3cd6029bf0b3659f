"""Runs the cells of a suite that the store lacks, and computes their metrics. Interrupted, it continues where it stopped."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from math import log, prod
from typing import Any

import numpy as np
import torch

from scorebench.reference_models.datasets import DATASETS
from scorebench.reference_models.model import Model
from scorebench.reference_models.network import NetworkModel
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.likelihood import log_likelihood
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Count

from . import references
from .cells import Cell, plan
from .features import floor_features, has_data, real_features, real_images
from .fingerprint import fingerprint
from .provenance import provenance
from .quality import Jackknifed, error_rows, fid_rows, frechet, jackknifed_frechet, likelihood_rows, time_rows
from .store import Json, Store, key_of
from .suite import Suite
from .timing import anchor_of, failure, time_panel

STRIP = 8
Say = Callable[[str, int], None]  # what is being done, and how many cells it finishes


@dataclass(frozen=True)
class Outcome:
    """How many cells there are, were there already, were skipped and failed."""

    cells: int
    reused: int
    skipped: int
    failed: int


def run_suite(suite: Suite, store: Store, say: Say = lambda what, done: None, partial: bool = False) -> Outcome:
    """Measure every cell of a suite that the store lacks; `say` hears of each. UsageError before anything is written.

    `partial`: the suite was narrowed, so the cells that the store lists under its name stay listed beside these.
    """
    cells = [replace(cell, store=store) for cell in plan(suite)]
    _fit_dtype(cells)
    done = {cell.key for cell in cells if _finished(store, cell)}
    store.check(done)
    store.open_for_writing()
    _write_facts(suite, store, cells, partial, lambda what: say(what, 0))
    missing = [cell for cell in cells if cell.key not in done]
    say("reusing cells of this store", len(cells) - len(missing))
    for cell in missing:
        if cell.config["pass"] != "time":
            say(cell.label(), 0)
            measure(cell, store, lambda what: say(what, 0))
            say(cell.label(), 1)
    for cell_group in _panels([cell for cell in missing if cell.config["pass"] == "time"]):
        say(f"time {cell_group[0].config['model']} at {cell_group[0].config['budget'] or 'tolerances'}", 0)
        measure_times(cell_group, store)
        say("time", len(cell_group))
    write_metrics(cells, store, suite.metrics, lambda what: say(what, 0))
    statuses = [store.cell(cell.key)["status"] for cell in cells]
    return Outcome(len(cells), len(done), statuses.count("skipped"), statuses.count("failed"))


def measure(cell: Cell, store: Store, progress: Callable[[str], None]) -> None:
    """One sample or likelihood cell, written whatever becomes of it: result, skip or failure."""
    started = datetime.now(UTC)
    if cell.steps < 1:
        _write(store, cell, {}, {}, "skipped", f"needs {cell.needed} network calls", started)
        return
    try:
        arrays, count, message = (_sample if cell.config["pass"] == "sample" else _likelihood)(cell, store, progress)
    except Exception as error:  # whatever a solver, of the user's too, may raise costs this cell alone
        _write(store, cell, {}, {}, "failed", cause(error), started)
        return
    _write(store, cell, counts_of(count) | cell.grid_cost(), arrays, "failed" if message else "ok", message, started)


def cause(error: Exception) -> str:
    """An error as the one line of a row."""
    return f"{type(error).__name__}: {' '.join(str(error).splitlines()[:1])}"


def counts_of(count: Count) -> Json:
    evaluations = count.evaluations.double()
    return {
        "nfe_mean": float(evaluations.mean()),
        "nfe_max": int(evaluations.max()),
        "calls": count.calls,
        "vjps": count.vjps,
        "jvps": count.jvps,
    }


def _sample(cell: Cell, store: Store, progress: Callable[[str], None]) -> tuple[dict[str, np.ndarray], Count, str]:
    config, model = cell.config, cell.model
    n, seed = config["n"], config["seed"]
    x = references.latents(model, n, seed, cell.dtype)
    noise = Noise(seed, torch.arange(n), model.shape, cell.dtype)
    with torch.no_grad():
        solution = solve(
            model, cell.info, cell.grid(), x, options=config["options"], noise=noise, denoise=config["denoise"]
        )
    arrays = {
        "index": np.arange(n),
        "nfe": solution.count.evaluations.numpy(),
        "features": cell.extractor.extract(solution.x),
        "strip": solution.x[:STRIP].float().numpy(),
    }
    if config["kind"] == "ode":
        reference = _solution(cell, store, progress)
        arrays["error"] = references.rms(solution.x, torch.from_numpy(reference.solution))
    finite = solution.finite and bool(torch.isfinite(solution.x).all())
    return arrays, solution.count, "" if finite else "diverged: a state is not finite"


def _likelihood(cell: Cell, store: Store, progress: Callable[[str], None]) -> tuple[dict[str, np.ndarray], Count, str]:
    config, model = cell.config, cell.model
    n, seed = config["n"], config["seed"]
    x, probes = references.images(model, n, seed, cell.dtype), references.shared_probes(model, n, seed)
    with torch.no_grad():
        result = log_likelihood(model, cell.info, cell.grid(), x, options=config["options"], probes=probes)
    truth = _in_double(model, lambda: references.log_p(model, n, seed, store, progress), cell.dtype)
    bits = prod(model.shape) * log(2)
    log_p = result.log_p.numpy()
    arrays = {
        "index": np.arange(n),
        "nfe": result.count.evaluations.numpy(),
        "log_p": log_p,
        "error": (truth.solution - log_p) / bits,
    }
    return arrays, result.count, "" if np.isfinite(log_p).all() else "diverged: log p is not finite"


def _solution(cell: Cell, store: Store, progress: Callable[[str], None] = lambda _: None) -> references.Reference:
    model, n, seed = cell.model, cell.config["n"], cell.config["seed"]
    return _in_double(model, lambda: references.solution(model, n, seed, store, progress), cell.dtype)


def _in_double(model: Model, compute: Callable[[], references.Reference], dtype: torch.dtype) -> references.Reference:
    """Run a float64 reference on a network that otherwise works in `dtype`."""
    if not isinstance(model, NetworkModel):
        return compute()
    model.to(torch.float64)
    try:
        with torch.no_grad():
            return compute()
    finally:
        model.to(dtype)


def _fit_dtype(cells: list[Cell]) -> None:
    for cell in cells:
        if isinstance(cell.model, NetworkModel):
            cell.model.to(cell.dtype)


def measure_times(cells: list[Cell], store: Store) -> None:
    """A panel of time cells, interleaved; cells whose budget is too small are skipped, those that fail cost themselves."""
    started = datetime.now(UTC)
    able = [cell for cell in cells if cell.steps >= 1]
    for cell in cells:
        if cell.steps < 1:
            _write(store, cell, {}, {}, "skipped", f"needs {cell.needed} network calls", started)
    while able:
        try:
            panel, calls = time_panel(able, anchor_of(able[0]))
            break
        except Exception:
            broken = {cell.key: error for cell in able if (error := failure(cell))}
            for cell in able:
                if cell.key in broken:
                    _write(store, cell, {}, {}, "failed", cause(broken[cell.key]), started)
            if not broken:
                raise
            able = [cell for cell in able if cell.key not in broken]
    for cell, arrays, spent in zip(able, panel, calls, strict=True) if able else ():
        counts = {"calls": spent} | cell.grid_cost()
        _write(store, cell, counts, arrays, "ok", "", started, cell.config["threads"], len(able))


def _panels(cells: list[Cell]) -> Iterator[list[Cell]]:
    """Cells that are timed against one another: of one model and budget."""

    def shared(cell: Cell) -> tuple[str, int]:
        return cell.config["model"], cell.config["budget"] or 0

    for _, group in groupby(sorted(cells, key=shared), key=shared):
        yield list(group)


def _write(
    store: Store, cell: Cell, counts: Json, arrays: dict[str, np.ndarray], status: str, message: str, started: datetime,
    threads: int | None = None, share: int = 1,
) -> None:  # fmt: skip
    where = provenance(started, threads=threads)
    where["seconds"] = round(where["seconds"] / share, 3)
    store.write_cell(
        cell.key,
        {"config": cell.config, "counts": counts, "status": status, "message": message, "provenance": where},
        arrays,
    )


def _finished(store: Store, cell: Cell) -> bool:
    """Whether the store holds the cell; a failure other than divergence is tried again."""
    if not store.has("cells", cell.key):
        return False
    kept = store.cell(cell.key)
    return bool(kept["status"] != "failed" or kept["message"].startswith("diverged"))


def write_metrics(cells: list[Cell], store: Store, wanted: list[str], progress: Callable[[str], None]) -> None:
    """The wanted metric rows of every cell, recomputed where the code of the metrics has changed since."""
    source = fingerprint("scorebench.bench.quality", "scorebench.bench.features")
    cache: dict[str, Any] = {}
    for cell in cells:
        identity = key_of([cell.key, source, cell.extractor.digest, wanted])
        kept = store.read_json(f"metrics/{cell.key}.json") if store.has("metrics", cell.key) else {}
        if kept.get("metric_key") == identity:
            continue
        progress(f"metrics of {cell.label()}")
        rows = [] if store.cell(cell.key)["status"] != "ok" else _rows(cell, store, cache)
        kept_rows = [row for row in rows if row["metric"] in wanted]
        store.write_json(f"metrics/{cell.key}.json", {"metric_key": identity, "rows": kept_rows})


def _rows(cell: Cell, store: Store, cache: dict[str, Any]) -> list[Json]:
    arrays = store.arrays(cell.key)
    match cell.config["pass"]:
        case "time":
            return time_rows(arrays)
        case "likelihood":
            offset = data.log_bin if (data := DATASETS.get(cell.model.data or "")) else 0.0
            nll = -(arrays["log_p"] / prod(cell.model.shape) + offset) / log(2)
            return likelihood_rows(arrays["error"], nll)
    rows = error_rows(arrays["error"]) if "error" in arrays else []
    n = cell.config["n"]
    name = f"{cell.config['model']} {n} {cell.config['seed']}"
    if name not in cache:
        cache[name] = _real_sides(cell, store)
    real, floor, reference = cache[name]
    if real is not None and n > 2 * real.shape[1]:
        rows += fid_rows(cell.extractor.name, jackknifed_frechet(arrays["features"], real), reference, floor)
    return rows


def _real_sides(cell: Cell, store: Store) -> tuple[np.ndarray | None, float | None, Jackknifed | None]:
    """Real features, the floor at equal n, and the reference solution's jackknifed FID."""
    model, n = cell.model, cell.config["n"]
    real, other = real_features(model), floor_features(model, n)
    if real is None:
        return None, None, None
    features = cell.extractor.extract(torch.from_numpy(_solution(cell, store).solution))
    return real, None if other is None else frechet(other, real), jackknifed_frechet(features, real)


def _write_facts(suite: Suite, store: Store, cells: list[Cell], partial: bool, progress: Callable[[str], None]) -> None:
    """What reports need beside the cells: the suite, solvers' and models' facts, and what the strips show beside samples."""
    keys = [cell.key for cell in cells]
    if partial and store.has("suites", suite.name):
        measured = {_same(cell.config) for cell in cells}
        listed = [key for key in store.read_json(f"suites/{suite.name}.json")["cells"] if store.has("cells", key)]
        keys = [key for key in listed if _same(store.cell(key)["config"]) not in measured] + keys
    store.write_json(f"suites/{suite.name}.json", {"name": suite.name, "config": suite.model_dump(), "cells": keys})
    solvers = {cell.info.id: SOLVERS[cell.info.id].facts() for cell in cells}
    models = {
        cell.config["model"]: {
            "process": cell.model.process.name,
            "shape": list(cell.model.shape),
            "digest": cell.config["model_digest"],
            "data": cell.model.data,
            "features": cell.extractor.name,
        }
        for cell in cells
    }
    for name, new in (("solvers", solvers), ("models", models)):
        old = store.read_json(f"{name}.json")[name] if (store.root / f"{name}.json").exists() else {}
        store.write_json(f"{name}.json", {name: {**old, **new}})
    for cell in {
        c.config["model"]: c for c in cells if len(c.model.shape) == 3 and c.config["pass"] == "sample"
    }.values():
        slug = re.sub("[^a-z0-9]+", "-", cell.config["model"].lower()).strip("-")
        reference = _solution(cell, store, progress)
        strip = {"reference": reference.solution[:STRIP]}
        if has_data(cell.model):
            strip["real"] = real_images(cell.model, STRIP)
        store.write_npz(f"references/strip-{slug}.npz", strip)


def _same(config: Json) -> str:
    """What two measurements of one thing share, whatever the versions of code and weights behind them."""
    names = ("pass", "model", "solver", "options", "grid", "budget", "dtype", "n", "seed")
    return key_of([config[name] for name in names])

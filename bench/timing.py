"""The time pass: whole solves on the clock and nothing else, interleaved with an anchor, on a stated number of threads."""

import gc
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.model import Model
from scorebench.solvers.drawn import settled
from scorebench.solvers.drive import Solution, solve
from scorebench.solvers.likelihood import LogLikelihood, log_likelihood
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

from .cells import Cell
from .execution import recorded
from .placement import synchronise
from .references import images, latents, shared_probes

T = TypeVar("T")
HOST = torch.device("cpu")
READINGS = ("wall_ms", "cpu_ms", "launch_ms", "device_ms")  # of the clock, the last only of a GPU
CALLS = ("denoise", "mix")  # what of a model is a network call


class RecordedNoise(Noise):
    """Noise that draws once and then repeats itself, so that a timed solve does not pay for it."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)  # type: ignore[arg-type]
        self.drawn: dict[tuple[float, ...], Tensor] = {}

    def increment(self, s_from: float, s_to: float) -> Tensor:
        if (s_from, s_to) not in self.drawn:
            self.drawn[s_from, s_to] = settled(super().increment(s_from, s_to))
        return self.drawn[s_from, s_to]

    def independent(self, position: int) -> Tensor:
        if (position,) not in self.drawn:
            self.drawn[(position,)] = settled(super().independent(position))
        return self.drawn[(position,)]


class Watched:
    """A model that sums up how long its own calls take: what they leave of a solve is the solver's, whatever else runs beside."""

    def __init__(self, model: Model) -> None:
        self.model, self.calls, self.wall, self.cpu = model, 0, 0, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.model, name)
        return partial(self.timed, found) if name in CALLS else found

    def timed(self, call: Callable[..., Tensor], *arguments: object) -> Tensor:
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        found = call(*arguments)
        self.wall, self.cpu = self.wall + time.perf_counter_ns() - wall, self.cpu + time.process_time_ns() - cpu
        self.calls += 1
        return found

    def per_call(self) -> tuple[float, float]:
        """Milliseconds a call since this was last asked, wall and CPU time."""
        spent = self.wall / 1e6 / max(self.calls, 1), self.cpu / 1e6 / max(self.calls, 1)
        self.calls, self.wall, self.cpu = 0, 0, 0
        return spent


@contextmanager
def threads(n: int) -> Iterator[None]:
    """torch on n threads, the garbage collector off."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        torch.set_num_threads(before)


def clock(work: Callable[[], T], device: torch.device = HOST) -> tuple[tuple[float, ...], T]:
    """Milliseconds of one call, the device synchronised before and after, and what it returned.

    They are wall time, process CPU time, and the wall time until the call returned: where that is nearly all, the device
    waited for its kernels to be launched. On a GPU a fourth is the time between events before and after the work.
    """
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
    synchronise(device)
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    for event in events[:1]:
        event.record()
    result = work()
    for event in events[1:]:
        event.record()
    launched = time.perf_counter_ns()
    synchronise(device)
    readings = [end / 1e6 for end in (time.perf_counter_ns() - wall, time.process_time_ns() - cpu, launched - wall)]
    if events:
        readings.append(events[0].elapsed_time(events[1]))
    return tuple(readings), result


def job(cell: Cell, watched: Watched | None = None) -> Callable[[], object]:
    """One solve of a time cell's batch, its noise drawn beforehand; or its likelihoods, traces as in the likelihood pass."""
    model, n, grid = cell.model, cell.config["n"], cell.grid()
    if cell.of_likelihood:
        return likelihood_job(cell)
    x = latents(model, n, cell.config["seed"], cell.dtype, cell.device)
    noise = RecordedNoise(cell.config["seed"], torch.arange(n), model.shape, cell.dtype, cell.device)
    runs: Any = watched or cell.runs
    options, denoise = cell.config["options"], cell.config["denoise"]
    work = partial(solve, runs, cell.info, grid, x, options=options, noise=noise, denoise=denoise)
    return recorded(work) if cell.execution.get("capture") and cell.device.type == "cuda" else work


def likelihood_job(cell: Cell) -> Callable[[], object]:
    model, n, seed, grid = cell.model, cell.config["n"], cell.config["seed"], cell.grid()
    x, probes = images(model, n, seed, cell.dtype, cell.device), shared_probes(model, n, seed)
    options = cell.config["options"]

    def work() -> LogLikelihood:
        with torch.inference_mode(False), torch.no_grad():  # products need a graph
            return log_likelihood(model, cell.info, grid, x, options=options, probes=probes, prior=cell.prior)

    return work


def failure(cell: Cell) -> Exception | None:
    """What running a time cell's solve alone raises; None when it runs."""
    try:
        work = job(cell)
        with torch.inference_mode():
            work()
    except Exception as error:
        return error
    return None


def network_calls(cell: Cell) -> Callable[[], object]:
    """As many bare calls of a time cell's network as its budget: about as long as a solve, so that load disturbs both alike."""
    model, p = cell.runs, cell.model.process
    x = latents(model, cell.config["n"], 0, cell.dtype, cell.device)
    t = torch.tensor(0.5 * (p.t_min + p.t_max), dtype=torch.float64)
    return lambda: [model.denoise(x, t) for _ in range(cell.config["budget"])]


def time_panel(cells: list[Cell], anchor: Cell) -> tuple[list[dict[str, np.ndarray]], list[int]]:
    """Times of cells that share model, batch and budget: in every round each runs once, in shuffled order, with the anchor.

    Returns the arrays of each cell (rounds,), and the network calls that each spent per solve. Where a call ends when it returns,
    a solve's own network calls are timed in it; on a GPU bare ones beside it.
    """
    config, device = cells[0].config, anchor.device
    names = READINGS if device.type == "cuda" else READINGS[:-1]
    own = [None if cell.of_likelihood or device.type == "cuda" else Watched(cell.runs) for cell in cells]
    jobs = [*map(job, cells, own), job(anchor), *([network_calls(anchor)] if device.type == "cuda" else [])]
    shuffler = random.Random(config["seed"])
    with threads(config["threads"]), torch.inference_mode():
        for cell, work in zip(cells, jobs, strict=False):
            if cell.config["kind"] == "sde":
                work()  # draws its noise
        warm_up(jobs[len(cells) :])
        for watched in filter(None, own):
            watched.per_call()  # forgets what it saw until now
        times, calls = np.zeros((config["rounds"], len(jobs), len(names))), [0] * len(jobs)
        network = np.zeros((config["rounds"], len(cells), 2))
        for round_ in range(config["rounds"]):
            for place in shuffler.sample(range(len(jobs)), len(jobs)):
                times[round_, place], result = clock(jobs[place], device)
                if isinstance(result, Solution | LogLikelihood):
                    calls[place] = result.count.calls
            network[round_] = [watched.per_call() if watched else (0, 0) for watched in own]
    if device.type == "cuda":
        network[:] = times[:, -1:, :2] / anchor.config["budget"]
    arrays = [{name: times[:, i, k] for k, name in enumerate(names)} for i in range(len(cells))]
    for i, found in enumerate(arrays):
        found["anchor_ms"] = times[:, len(cells), 0]
        if not cells[i].of_likelihood:
            found |= {"network_ms": network[:, i, 0], "network_cpu_ms": network[:, i, 1]}
    return arrays, calls[: len(cells)]


def warm_up(jobs: list[Callable[[], object]], calls: int = 3, seconds: float = 0.5) -> None:
    """Run jobs in turn, at least so often and so long."""
    started, done = time.perf_counter(), 0
    while done < calls or time.perf_counter() - started < seconds:
        for work in jobs:
            work()
        done += 1


def anchor_of(cell: Cell) -> Cell:
    """The anchor at a cell's budget; an adaptive cell is compared with the anchor at 10 calls."""
    info = find(cell.config["anchor"])
    config = cell.config | {"solver": info.id, "options": {}, "grid": info.grid, "budget": cell.config["budget"] or 10}
    return Cell(config, cell.model, info, cell.extractor)

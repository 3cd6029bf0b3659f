"""The time pass: whole solves on the clock and nothing else, interleaved with an anchor, on a stated number of threads."""

import gc
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.model import Model
from scorebench.solvers.drive import Solution, solve
from scorebench.solvers.likelihood import LogLikelihood, log_likelihood
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

from .cells import Cell
from .references import images, latents, shared_probes

T = TypeVar("T")


class RecordedNoise(Noise):
    """Noise that draws once and then repeats itself, so that a timed solve does not pay for it."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)  # type: ignore[arg-type]
        self._drawn: dict[tuple[float, ...], Tensor] = {}

    def increment(self, s_from: float, s_to: float) -> Tensor:
        if (s_from, s_to) not in self._drawn:
            self._drawn[s_from, s_to] = super().increment(s_from, s_to)
        return self._drawn[s_from, s_to]

    def independent(self, position: int) -> Tensor:
        if (position,) not in self._drawn:
            self._drawn[(position,)] = super().independent(position)
        return self._drawn[(position,)]


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


def clock(work: Callable[[], T]) -> tuple[tuple[float, float, float], T]:
    """Milliseconds of one call, the device synchronised before and after, and what it returned.

    They are wall time, process CPU time, and the wall time until the call returned: where that is nearly all, the device
    waited for its kernels to be launched.
    """
    _synchronise()
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    result = work()
    launched = time.perf_counter_ns()
    _synchronise()
    ends = (time.perf_counter_ns() - wall, time.process_time_ns() - cpu, launched - wall)
    return (ends[0] / 1e6, ends[1] / 1e6, ends[2] / 1e6), result


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def job(cell: Cell) -> Callable[[], object]:
    """One solve of a time cell's batch, its noise drawn beforehand; or its likelihoods, traces as in the likelihood pass."""
    model, n, grid = cell.model, cell.config["n"], cell.grid()
    if cell.of_likelihood:
        return likelihood_job(cell)
    x = latents(model, n, cell.config["seed"], cell.dtype)
    noise = RecordedNoise(cell.config["seed"], torch.arange(n), model.shape, cell.dtype)
    return lambda: solve(
        model, cell.info, grid, x, options=cell.config["options"], noise=noise, denoise=cell.config["denoise"]
    )


def likelihood_job(cell: Cell) -> Callable[[], object]:
    model, n, seed, grid = cell.model, cell.config["n"], cell.config["seed"], cell.grid()
    x, probes, options = images(model, n, seed, cell.dtype), shared_probes(model, n, seed), cell.config["options"]

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


def network_call(model: Model, n: int, dtype: torch.dtype) -> Callable[[], object]:
    x, t = (
        latents(model, n, 0, dtype),
        torch.tensor(0.5 * (model.process.t_min + model.process.t_max), dtype=torch.float64),
    )
    return lambda: model.denoise(x, t)


def time_panel(cells: list[Cell], anchor: Cell) -> tuple[list[dict[str, np.ndarray]], list[int]]:
    """Times of cells that share model, batch and budget: in every round each runs once, in shuffled order, with the anchor.

    Returns the arrays of each cell (rounds,), and the network calls that each spent per solve.
    """
    config = cells[0].config
    jobs = [job(cell) for cell in cells] + [job(anchor), network_call(anchor.model, config["n"], anchor.dtype)]
    shuffler = random.Random(config["seed"])
    with threads(config["threads"]), torch.inference_mode():
        for cell, work in zip(cells, jobs, strict=False):
            if cell.config["kind"] == "sde":
                work()  # draws its noise
        warm_up(jobs[-2:])
        times, calls = np.zeros((config["rounds"], len(jobs), 3)), [0] * len(jobs)
        for round_ in range(config["rounds"]):
            for place in shuffler.sample(range(len(jobs)), len(jobs)):
                times[round_, place], result = clock(jobs[place])
                if isinstance(result, Solution | LogLikelihood):
                    calls[place] = result.count.calls
    shared = {"anchor_ms": times[:, -2, 0], "network_ms": times[:, -1, 0]}
    names = ("wall_ms", "cpu_ms", "launch_ms")
    arrays = [{name: times[:, i, k] for k, name in enumerate(names)} | shared for i in range(len(cells))]
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

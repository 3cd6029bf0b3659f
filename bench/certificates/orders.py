"""Observed orders of deterministic methods: the slope of each sample's error between two grids, and its median's interval.

Of an adaptive method the slope is taken between two tolerances.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebench.bench.quality import quantile_interval
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SolverInfo
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise

from .trajectory import DOUBLE, ends, exact, mixture

PAST = 3  # exact points before the first step, where the start is exact
FLOOR = 1e-10  # errors below this are the reference's and round-off's
TOLERANCES = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
ENOUGH = 300  # network calls a sample of an adaptive method: no finer tolerance after them


@dataclass(frozen=True)
class Observed:
    """An observed order with its 95 % interval, and the typical errors that it comes from.

    `ladder` pairs numbers of steps, or tolerances, with errors, the coarsest first.
    """

    value: float
    low: float
    high: float
    ladder: tuple[tuple[float, float], ...]


class Silence(Noise):
    """No noise at all: what is left of a stochastic method is its drift."""

    def __init__(self, x: Tensor) -> None:
        super().__init__(0, torch.arange(len(x)), tuple(x.shape[1:]))
        self.zeros = torch.zeros_like(x)

    def increment(self, s_from: float, s_to: float) -> Tensor:
        return self.zeros

    def independent(self, position: int) -> Tensor:
        return self.zeros


def errors(
    info: SolverInfo, process: str, grid: str, steps: int, exact_start: bool, options: dict[str, Any], seed: int = 0
) -> np.ndarray:
    """Distances to the exact solution at the end (32,); an exact start gives three points before the first step.

    Of a stochastic method the drift alone is followed, with its noise left out.
    """
    model, before, speed = mixture(process), PAST if exact_start else 0, 1 + (info.eta(options) or 0.0) ** 2
    p = model.process
    times = make_grid(grid, p, steps + before, *ends(p))
    past = tuple((t, exact(p, t, speed, seed)) for t in times[:before].tolist())
    x = exact(p, float(times[before]), speed, seed)
    end = solve(model, info, times[before:], x, options=options, start=past, noise=Silence(x)).x
    return np.asarray((end - exact(p, float(times[-1]), speed, seed)).norm(dim=1).numpy())


def observe(
    info: SolverInfo, process: str = "flow", grid: str = "logsnr", exact_start: bool = True,
    ladder: tuple[int, ...] = (32, 64, 128, 256), options: dict[str, Any] | None = None, floor: float = FLOOR,
    seed: int = 0,
) -> Observed:  # fmt: skip
    """The order between the two finest grids of a ladder whose errors are not yet round-off, along the samples of a seed."""
    before = PAST if exact_start else 0
    with torch.no_grad():
        found = [errors(info, process, grid, ladder[0], exact_start, options or {}, seed)]
        for number in ladder[1:]:
            finer = errors(info, process, grid, number, exact_start, options or {}, seed)
            if len(found) > 1 and np.median(finer) < floor:
                break
            found.append(finer)
    coarse, fine = ladder[len(found) - 2 : len(found)]
    slopes = np.log(found[-2] / found[-1]) / np.log((fine + before) / (coarse + before))
    return observed(slopes, ladder, found)


def observe_tolerances(info: SolverInfo, process: str, options: dict[str, Any], seed: int = 0) -> Observed:
    """The power of the tolerance, absolute and relative, with which an adaptive method's error falls from 1e-4 on."""
    model = mixture(process)
    p = model.process
    first, last = ends(p)
    grid, x = torch.tensor([first, last], dtype=DOUBLE), exact(p, first, seed=seed)
    found = []
    with torch.no_grad():
        for tolerance in TOLERANCES:
            chosen = {**options, "rtol": tolerance, "atol": tolerance}
            solution = solve(model, info, grid, x, options=chosen)
            found.append(np.asarray((solution.x - exact(p, last, seed=seed)).norm(dim=1).numpy()))
            if len(found) > 1 and solution.count.evaluations.double().mean() > ENOUGH:
                break
    slopes = np.log(found[0] / found[-1]) / np.log(TOLERANCES[0] / TOLERANCES[len(found) - 1])
    return observed(slopes, TOLERANCES, found)


def observed(slopes: np.ndarray, ladder: tuple[float, ...], found: list[np.ndarray]) -> Observed:
    """The median of the samples' slopes, and the median errors that they come from."""
    medians = [float(np.median(errors)) for errors in found]
    return Observed(*quantile_interval(slopes, 0.5), tuple(zip(ladder, medians, strict=False)))

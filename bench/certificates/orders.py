"""Observed orders of deterministic methods: the slope of each sample's error between two grids, and its median's interval."""

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

from .trajectory import ends, exact, mixture

PAST = 3  # exact points before the first step, where the start is exact
FLOOR = 1e-10  # errors below this are the reference's and round-off's


@dataclass(frozen=True)
class Observed:
    """An observed order with its 95 % interval, the two numbers of steps and the finer grid's median error."""

    value: float
    low: float
    high: float
    steps: tuple[int, int]
    error: float


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
    model, before, speed = mixture(process), PAST if exact_start else 0, 1 + info.eta(options) ** 2
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
    n = len(found)
    coarse, fine, steps = found[-2], found[-1], (ladder[n - 2], ladder[n - 1])
    slopes = np.log(coarse / fine) / np.log((steps[1] + before) / (steps[0] + before))
    return Observed(*quantile_interval(slopes, 0.5), steps, float(np.median(fine)))

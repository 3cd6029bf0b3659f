"""Strong order of stochastic methods by coupled paths: one Brownian path per sample at every step size.

The reference is the method itself on a fine grid with the same path in the same clock.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SolverInfo
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise

from .orders import Observed, observed
from .trajectory import DOUBLE, ends, mixture

PATHS = 1200
LADDER = (64, 256, 2048)  # of steps; the last is the reference, whose own error adds at most 0.07 to an order of 1


class Coupled(Noise):
    """A Brownian path per sample, drawn at all the values of the clock that are asked for at any step size."""

    def __init__(self, size: int, seed: int = 0) -> None:
        super().__init__(seed, torch.arange(size), (2,))
        self.clock: set[float] = set()
        self.values: dict[float, Tensor] = {}

    def draw(self) -> None:
        clock = torch.tensor(sorted(self.clock), dtype=DOUBLE)
        generator = torch.Generator().manual_seed(self.seed + 1)
        z = torch.randn(len(clock), len(self.indices), 2, generator=generator, dtype=DOUBLE)
        z[1:] *= torch.sqrt(torch.diff(clock))[:, None, None]
        self.values = dict(zip(clock.tolist(), z.cumsum(0), strict=True))

    def increment(self, s_from: float, s_to: float) -> Tensor:
        if not self.values:
            self.clock |= {s_from, s_to}
            return torch.zeros(len(self.indices), 2, dtype=DOUBLE)
        return (self.values[s_to] - self.values[s_from]) / math.sqrt(abs(s_to - s_from))


def errors(
    info: SolverInfo, process: str, options: dict[str, Any], reference: SolverInfo | None = None, seed: int = 0
) -> list[np.ndarray]:
    """|x − fine solution| of every path (PATHS,), for each coarser number of steps of LADDER.

    The fine solution is the method's own, or a reference's that has its noise in the same clock.
    """
    model, generator = mixture(process), torch.Generator().manual_seed(seed)
    p = model.process
    first, last = ends(p)
    time = torch.tensor(first, dtype=DOUBLE)
    x0 = model.samples(PATHS, generator)
    x = p.alpha(time) * x0 + p.sigma(time) * torch.randn(x0.shape, generator=generator, dtype=DOUBLE)
    runs = [(info, options, make_grid("logsnr", p, steps, first, last)) for steps in LADDER]
    if reference is not None:
        runs[-1] = (reference, {}, runs[-1][2])
    noise = Coupled(PATHS, seed)
    for method, chosen, grid in runs:
        spy = Coupled(1)
        solve(model, method, grid, x[:1], options=chosen, noise=spy)
        noise.clock |= spy.clock
    noise.draw()
    *found, truth = [solve(model, method, grid, x, options=chosen, noise=noise).x for method, chosen, grid in runs]
    return [np.asarray((end - truth).norm(dim=1).numpy()) for end in found]


def strong_order(info: SolverInfo, process: str, options: dict[str, Any], seed: int = 0) -> Observed:
    """The median slope of the paths' distances to the fine solution, and its interval.

    A mean would be that of the few paths that end in another mode.
    """
    coarse, fine = errors(info, process, options, seed=seed)
    return observed(np.log(coarse / fine) / math.log(LADDER[1] / LADDER[0]), LADDER, [coarse, fine])

"""The eighth-order method of Dormand and Prince with scipy's coefficients, and error control per sample."""

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from ..facts import Reference, Step, solver
from ..problem import Problem
from .rk45 import Pair, adaptive
from .runge_kutta import Tableau


def blend(five: Tensor, three: Tensor) -> Tensor:
    """One number of the norms (b,) of the fifth- and third-order estimates: ‖e₅‖² / √(‖e₅‖² + 0.01 ‖e₃‖²), of order 8."""
    return five**2 / torch.sqrt(five**2 + 0.01 * three**2).clamp_min(1e-300)


@cache
def pair() -> Pair:
    """scipy's tableau and both its error estimates; imported when asked for, as it takes half a second."""
    from scipy.integrate import DOP853

    tableau = Tableau(
        a=tuple(tuple(row[:i]) for i, row in enumerate(DOP853.A.tolist())),
        b=tuple(DOP853.B.tolist()),
        c=tuple(DOP853.C.tolist()),
    )
    return Pair(tableau, (tuple(DOP853.E5.tolist()), tuple(DOP853.E3.tolist())), 8, blend)


@solver(
    "dop853",
    order=8,
    calls_per_step=None,
    grid="time_uniform",
    reference=Reference(
        "Hairer, Nørsett & Wanner 1993",
        "Solving Ordinary Differential Equations I",
        "doi:10.1007/978-3-540-78862-1",
        "section II.5",
    ),
    aliases=("dopri8",),
)
def dop853(problem: Problem, x: Tensor, grid: Tensor, *, rtol: float = 1e-3, atol: float = 1e-6) -> Iterator[Step]:
    """Dormand–Prince 8(5,3) on the probability-flow ODE, from grid[0] to grid[-1], each sample with its own steps.

    Twelve calls a step and one to begin the next. scipy gives the coefficients and not the loop: its integrator would
    make the network's calls one sample at a time.
    """
    return adaptive(problem, x, grid, pair(), rtol, atol)

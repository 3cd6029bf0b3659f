"""Embedded Runge–Kutta pairs in t with error control per sample: Dormand–Prince 5(4) and Bogacki–Shampine 3(2)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from scorebench.reference_models.parameterisation import broadcast

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine
from .runge_kutta import BOGACKI_SHAMPINE, Tableau

DORMAND_PRINCE = Tableau(
    a=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    ),
    b=(35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    c=(0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1),
)
SAFETY, SHRINK, GROW = 0.9, 0.2, 10.0


@dataclass(frozen=True)
class Pair:
    """A tableau with error estimates h Σ e_j k_j, whose last stage is the slope at the end of the step.

    `errors` are the rows e; `norm` makes one number per sample of their scaled norms (b,), by default the norm of the
    only one; a step of h has an error of order h^`order`.
    """

    tableau: Tableau
    errors: tuple[tuple[float, ...], ...]
    order: int
    norm: Callable[..., Tensor] = lambda only: only


RK45 = Pair(DORMAND_PRINCE, ((-71 / 57600, 0, 71 / 16695, -71 / 1920, 17253 / 339200, -22 / 525, 1 / 40),), 5)  # b − b̂
RK23 = Pair(BOGACKI_SHAMPINE, ((5 / 72, -1 / 12, -1 / 9, 1 / 8),), 3)


@solver(
    "rk45",
    order=5,
    calls_per_step=None,
    grid="time_uniform",
    reference=Reference(
        "Dormand & Prince 1980", "A family of embedded Runge-Kutta formulae", "doi:10.1016/0771-050X(80)90013-3"
    ),
    aliases=("dopri5",),
)
def rk45(problem: Problem, x: Tensor, grid: Tensor, *, rtol: float = 1e-3, atol: float = 1e-6) -> Iterator[Step]:
    """Dormand–Prince 5(4) on the probability-flow ODE, from grid[0] to grid[-1], each sample with its own steps."""
    return adaptive(problem, x, grid, RK45, rtol, atol)


@solver(
    "bs32",
    order=3,
    calls_per_step=None,
    grid="time_uniform",
    reference=Reference(
        "Bogacki & Shampine 1989", "A 3(2) pair of Runge-Kutta formulas", "doi:10.1016/0893-9659(89)90079-7"
    ),
    aliases=("rk23", "bosh3"),
)
def bs32(problem: Problem, x: Tensor, grid: Tensor, *, rtol: float = 1e-3, atol: float = 1e-6) -> Iterator[Step]:
    """Bogacki–Shampine 3(2) on the probability-flow ODE, from grid[0] to grid[-1], each sample with its own steps."""
    return adaptive(problem, x, grid, RK23, rtol, atol)


def adaptive(problem: Problem, x: Tensor, grid: Tensor, pair: Pair, rtol: float, atol: float) -> Iterator[Step]:
    """The probability-flow ODE in t by an embedded pair, from grid[0] to grid[-1]; yields after each round of trials.

    Accepts a step whose root-mean-square of error / (atol + rtol·max|x|) is at most 1; step control as in Hairer,
    Nørsett & Wanner, Solving ODEs I, section II.4. A sample whose step falls below what t resolves becomes NaN.
    """
    t, end = grid[:1].repeat(len(x)), float(grid[-1])
    sign = 1.0 if end > float(grid[0]) else -1.0
    x, active = x.clone(), torch.arange(len(x))
    k = problem.velocity(x, t)
    h = first_step(problem, x, k, t, end, rtol, atol, pair.order)
    rejected = torch.zeros(len(x), dtype=torch.bool)
    while len(active):
        rows = problem[active]
        t0, x0 = t[active], x[active]
        step = torch.minimum(h[active], sign * (end - t0))
        t1 = torch.where(step == sign * (end - t0), end, t0 + sign * step)
        x1, errors, k1 = trial(rows, x0, k[active], t0, sign * step, t1, pair)
        magnitude = torch.maximum(x0.abs(), x1.abs())
        norm = pair.norm(*(scaled_norm(error, magnitude, rtol, atol) for error in errors))
        accept = norm < 1
        factor = (SAFETY * norm.clamp_min(1e-300) ** (-1 / pair.order)).nan_to_num(nan=SHRINK).clamp(SHRINK, GROW)
        factor = torch.where(accept & rejected[active], factor.clamp(max=1.0), factor)
        h[active], rejected[active] = step * torch.where(accept, factor, factor.clamp(max=1.0)), ~accept
        good = active[accept]
        t[good], x[good], k[good] = t1[accept], x1[accept], k1[accept]
        lost = active[(t1 != end) & ~(step >= 10 * torch.finfo(torch.float64).eps * t0.abs())]
        x[lost], t[lost] = torch.nan, end
        active = active[t[active] != end]
        yield t.clone(), x.clone()


def trial(
    problem: Problem, x: Tensor, k: Tensor, t: Tensor, h: Tensor, t_end: Tensor, pair: Pair
) -> tuple[Tensor, list[Tensor], Tensor]:
    """One step of h (b,): the result, its error estimates, and the slope there (first same as last)."""
    tableau, stages = pair.tableau, [k]
    rows = broadcast(h, x)
    for row, c in zip(tableau.a[1:], tableau.c[1:], strict=True):
        at = t_end if c == 1 else t + c * h
        stages.append(problem.velocity(torch.addcmul(x, rows, weighted(row, stages)), at))
    x1 = torch.addcmul(x, rows, weighted(tableau.b, stages))
    stages.append(problem.velocity(x1, t_end))
    return x1, [rows * weighted(row, stages) for row in pair.errors], stages[-1]


def first_step(
    problem: Problem, x: Tensor, k: Tensor, t: Tensor, end: float, rtol: float, atol: float, order: int
) -> Tensor:
    """Starting steps (b,) by Hairer, Nørsett & Wanner's rule, for one more network call."""
    span = (end - t).abs()
    sign = torch.sign(end - t)
    d0, d1 = scaled_norm(x, x.abs(), rtol, atol), scaled_norm(k, x.abs(), rtol, atol)
    h0 = torch.minimum(torch.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1), span)
    k1 = problem.velocity(torch.addcmul(x, broadcast(sign * h0, x), k), t + sign * h0)
    d2 = scaled_norm(k1 - k, x.abs(), rtol, atol) / h0
    steep = torch.maximum(d1, d2)
    h1 = torch.where(steep <= 1e-15, (h0 * 1e-3).clamp_min(1e-6), (0.01 / steep) ** (1 / order))
    return torch.minimum(torch.minimum(100 * h0, h1), span)


def weighted(weights: tuple[float, ...], tensors: list[Tensor]) -> Tensor:
    return combine(*zip(weights, tensors, strict=True))


def scale_rows(h: Tensor, x: Tensor) -> Tensor:
    return broadcast(h, x) * x


def scaled_norm(x: Tensor, magnitude: Tensor, rtol: float, atol: float) -> Tensor:
    """Root mean square of x / (atol + rtol · magnitude) over each sample, (b,), float64 on the host."""
    return (x / (atol + rtol * magnitude)).flatten(1).double().pow(2).mean(1).sqrt().cpu()

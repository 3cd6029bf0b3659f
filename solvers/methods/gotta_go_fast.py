"""Gotta Go Fast: an adaptive solver of the reverse SDE with a step size for each sample."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..facts import Reference, Step, solver
from ..problem import Problem
from .rk45 import scale_rows

SAFETY, EXPONENT = 0.9, 0.9  # θ and r
BITS = 8  # of a step: a Brownian path is so rough that steps which differ by round-off would soon part


@solver(
    "gotta-go-fast",
    kind="sde",
    order=2,
    strong=1.0,
    calls_per_step=None,
    grid="time_uniform",
    reference=Reference(
        "Jolicoeur-Martineau et al. 2021",
        "Gotta Go Fast When Generating Data with Score-Based Models",
        "arXiv:2105.14080",
        "Alg. 1",
    ),
    aliases=("ggf", "adaptive-sde"),
)
def gotta_go_fast(
    problem: Problem, x: Tensor, grid: Tensor, *, rtol: float = 0.02, atol: float = 0.0078, h_init: float = 0.01
) -> Iterator[Step]:
    """Gotta Go Fast: Euler–Maruyama x' and, with the same noise, the improved Euler x'' that is kept where they agree.

    Accepts where the root mean square of (x' − x'')/max(atol, rtol max(|x'|, |x'₋₁|)) is at most 1; then h ← θ h E^{−r}.
    It goes from grid[0] to grid[-1], at first by the share `h_init` of the way. The noise is that of each sample's Brownian
    path, so a rejected step does not redraw it (the published code does, which favours small noise); its clock is t.
    Steps are rounded down to 8 bits. The noise dial is 1. A sample whose step falls below what t resolves becomes NaN.
    """
    t, end = grid[:1].repeat(len(x)), float(grid[-1])
    x, before, active = x.clone(), x.clone(), torch.arange(len(x))
    h = h_init * (t - end)
    while len(active):
        rows, t0, x0 = problem[active], t[active], x[active]
        step = torch.minimum(h[active], t0 - end)
        t1 = torch.where(step == t0 - end, end, t0 - step)
        z = rows.increments(t0, t1)
        k0 = slope(rows, x0, t0, step, z)
        x1 = x0 + k0
        k1 = slope(rows, x1, t1, step, z)
        scale = (rtol * torch.maximum(x1.abs(), before[active].abs())).clamp_min(atol)
        error = (0.5 * (k1 - k0) / scale).flatten(1).double().pow(2).mean(1).sqrt().cpu()
        accept = error <= 1
        h[active] = rounded_down(SAFETY * step * error.clamp_min(1e-300).pow(-EXPONENT).nan_to_num(nan=0.1))
        good = active[accept]
        t[good], x[good], before[good] = t1[accept], (x0 + 0.5 * (k0 + k1))[accept], x1[accept]
        lost = active[~accept & ~(step >= 10 * torch.finfo(torch.float64).eps * t0.abs())]
        x[lost], t[lost] = torch.nan, end
        active = active[t[active] != end]
        yield t.clone(), x.clone()


def slope(problem: Problem, x: Tensor, t: Tensor, h: Tensor, z: Tensor) -> Tensor:
    """h (g² s − f x) + √h g z: what one Euler–Maruyama step back in time of h (b,) adds to x (b, *d)."""
    p = problem.process
    g2 = p.g2(t)
    drift = scale_rows(-p.f(t) * h, x) + scale_rows(g2 * h, problem.score(x, t))
    return drift + scale_rows(torch.sqrt(g2 * h), z)


def rounded_down(h: Tensor) -> Tensor:
    """The nearest numbers below h (b,) with so few bits."""
    mantissa, _ = torch.frexp(h)
    return torch.floor(mantissa * 2.0**BITS) / 2.0**BITS * (h / mantissa)

"""DPM-Solver-12 and -23: embedded pairs of DPM-Solvers, with error control per sample."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ..facts import Reference, Step, solver
from ..problem import Problem
from .dpm_solver import PAPER
from .rk45 import scale_rows

SAFETY, FIRST_STEP, SHRINK = 0.9, 0.05, 0.2
Pair = Callable[[Problem, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def exponential_step(problem: Problem, x: Tensor, s: Tensor, t: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """(α_t/α_s) x − σ_t Σ c · ε over (c (b,), ε (b, *d)), for times s and t (b,)."""
    p = problem.process
    out = scale_rows(torch.exp(p.log_alpha(t) - p.log_alpha(s)), x)
    return out - sum(scale_rows(p.sigma(t) * c, eps) for c, eps in terms)


def pair_12(problem: Problem, x: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """DPM-Solver-1 and DPM-Solver-2 (r₁ = ½) from s to t (b,), for two calls."""
    p = problem.process
    step = partial(exponential_step, problem, x, s)
    h = p.lam(t) - p.lam(s)
    middle = p.t_of_lam(p.lam(s) + h / 2)
    eps = problem.eps(x, s)
    u = step(middle, (torch.expm1(h / 2), eps))
    return step(t, (torch.expm1(h), eps)), step(t, (torch.expm1(h), problem.eps(u, middle)))


def pair_23(problem: Problem, x: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """DPM-Solver-2 (r₁ = ⅓) and DPM-Solver-3 (r₁ = ⅓, r₂ = ⅔) from s to t (b,), for three calls."""
    p, r1, r2 = problem.process, 1 / 3, 2 / 3
    step = partial(exponential_step, problem, x, s)
    h = p.lam(t) - p.lam(s)
    s1, s2 = p.t_of_lam(p.lam(s) + r1 * h), p.t_of_lam(p.lam(s) + r2 * h)
    e, e1, e2 = torch.expm1(h), torch.expm1(r1 * h), torch.expm1(r2 * h)
    eps = problem.eps(x, s)
    d1 = problem.eps(step(s1, (e1, eps)), s1) - eps
    d2 = problem.eps(step(s2, (e2, eps), (r2 / r1 * (e2 / (r2 * h) - 1), d1)), s2) - eps
    return step(t, (e, eps), (e / (2 * r1), d1)), step(t, (e, eps), ((e / h - 1) / r2, d2))


def adaptive(
    problem: Problem, x: Tensor, grid: Tensor, rtol: float, atol: float, pair: Pair, order: int
) -> Iterator[Step]:
    """From grid[0] to grid[-1]: accept the higher order where E ≤ 1, and h ← 0.9 h E^{−1/order} in λ either way.

    E is the root mean square of (lower − higher) / max(atol, rtol · max(|lower|, |lower of the last accepted step|)).
    A sample whose step falls below what λ resolves becomes NaN.
    """
    p, end = problem.process, float(grid[-1])
    last = p.lam(grid[-1])
    sign = torch.sign(last - p.lam(grid[0]))
    t, h = grid[:1].repeat(len(x)), torch.full((len(x),), FIRST_STEP, dtype=torch.float64)
    x, previous, active = x.clone(), x.clone(), torch.arange(len(x))
    while len(active):
        t0, lam = t[active], p.lam(t[active])
        left = (last - lam).abs()
        step = torch.minimum(h[active], left)
        t1 = torch.where(step == left, end, p.t_of_lam(lam + sign * step))
        lower, higher = pair(problem[active], x[active], t0, t1)
        scale = torch.maximum(lower.abs(), previous[active].abs()).mul(rtol).clamp_min(atol)
        norm = ((lower - higher) / scale).flatten(1).double().pow(2).mean(1).sqrt().cpu()
        factor = torch.where(torch.isfinite(norm), SAFETY * norm.clamp_min(1e-300) ** (-1 / order), SHRINK)
        h[active] = step * factor
        accept = norm <= 1
        good = active[accept]
        t[good], x[good], previous[good] = t1[accept], higher[accept], lower[accept]
        lost = active[~accept & ~(step >= 10 * torch.finfo(torch.float64).eps * lam.abs().clamp_min(1.0))]
        x[lost], t[lost] = torch.nan, end
        active = active[t[active] != end]
        yield t.clone(), x.clone()


@solver("dpm-solver-12", order=2, calls_per_step=None, reference=Reference(*PAPER, "appendix C, Alg. 3"))
def dpm_solver_12(
    problem: Problem, x: Tensor, grid: Tensor, *, rtol: float = 0.05, atol: float = 0.0078
) -> Iterator[Step]:
    """DPM-Solver-12: DPM-Solver-2 with DPM-Solver-1 as its error estimate, two calls an attempt.

    Every sample has its own steps; the published code takes one step for the batch, from its largest error, so that
    its samples depend on their company.
    """
    return adaptive(problem, x, grid, rtol, atol, pair_12, 2)


@solver(
    "dpm-solver-23",
    order=3,
    calls_per_step=None,
    reference=Reference(*PAPER, "appendix C, Alg. 4"),
    aliases=("dpm_adaptive", "sample_dpm_adaptive", "DPM adaptive"),
)
def dpm_solver_23(
    problem: Problem, x: Tensor, grid: Tensor, *, rtol: float = 0.05, atol: float = 0.0078
) -> Iterator[Step]:
    """DPM-Solver-23: DPM-Solver-3 with DPM-Solver-2 as its error estimate, three calls an attempt.

    Every sample has its own steps; the published code takes one step for the batch, from its largest error (k-diffusion:
    from the norm of the whole batch), so that its samples depend on their company.
    """
    return adaptive(problem, x, grid, rtol, atol, pair_23, 3)

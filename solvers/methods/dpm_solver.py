"""DPM-Solver-1, 2 and 3: single-step exponential methods in the noise prediction."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine

PAPER = (
    "Lu et al. 2022",
    "DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling",
    "arXiv:2206.00927",
)


@solver("dpm-solver-1", order=1, reference=Reference(*PAPER, "eq. 3.7"))
def dpm_solver_1(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """DPM-Solver-1: x' = (α'/α) x − σ'(e^h − 1) ε, h = λ' − λ; the same map as DDIM at η = 0."""
    p = problem.process
    h = torch.diff(p.lam(grid))
    a = torch.exp(torch.diff(p.log_alpha(grid))).tolist()
    b = (-p.sigma(grid[1:]) * torch.expm1(h)).tolist()
    t = grid.tolist()
    for n in range(len(t) - 1):
        x = combine((a[n], x), (b[n], problem.eps(x, t[n])))
        yield t[n + 1], x


@solver("dpm-solver-2", order=2, calls_per_step=2, reference=Reference(*PAPER, "Alg. 1"))
def dpm_solver_2(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """DPM-Solver-2 with r₁ = ½: u at the middle of the step in λ, x' = (α'/α) x − σ'(e^h − 1) ε(u)."""
    p = problem.process
    lam = p.lam(grid)
    h = torch.diff(lam)
    s = p.t_of_lam(lam[:-1] + 0.5 * h)
    a_s, b_s = (
        torch.exp(p.log_alpha(s) - p.log_alpha(grid[:-1])).tolist(),
        (-p.sigma(s) * torch.expm1(0.5 * h)).tolist(),
    )
    a, b = torch.exp(torch.diff(p.log_alpha(grid))).tolist(), (-p.sigma(grid[1:]) * torch.expm1(h)).tolist()
    t, middle = grid.tolist(), s.tolist()
    for n in range(len(t) - 1):
        u = combine((a_s[n], x), (b_s[n], problem.eps(x, t[n])))
        x = combine((a[n], x), (b[n], problem.eps(u, middle[n])))
        yield t[n + 1], x


@solver("dpm-solver-3", order=3, calls_per_step=3, reference=Reference(*PAPER, "Alg. 2"))
def dpm_solver_3(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """DPM-Solver-3 with r₁ = ⅓, r₂ = ⅔: stages u₁ and u₂, then x' = (α'/α) x − σ'(e^h − 1) ε − σ'(φ₂/r₂)(ε(u₂) − ε).

    Here φ₂ = (e^h − 1)/h − 1, the paper's notation for the second exponential function times h.
    """
    p, r1, r2 = problem.process, 1 / 3, 2 / 3
    lam = p.lam(grid)
    h = torch.diff(lam)
    s1, s2, s = p.t_of_lam(lam[:-1] + r1 * h), p.t_of_lam(lam[:-1] + r2 * h), grid[1:]
    a1, a2, a = (torch.exp(p.log_alpha(u) - p.log_alpha(grid[:-1])).tolist() for u in (s1, s2, s))
    b1, b2, b = ((-p.sigma(u) * torch.expm1(r * h)).tolist() for u, r in ((s1, r1), (s2, r2), (s, 1.0)))
    c2 = (-p.sigma(s2) * (r2 / r1) * (torch.expm1(r2 * h) / (r2 * h) - 1)).tolist()
    c = (-p.sigma(s) / r2 * (torch.expm1(h) / h - 1)).tolist()
    t, t1, t2 = grid.tolist(), s1.tolist(), s2.tolist()
    for n in range(len(t) - 1):
        eps = problem.eps(x, t[n])
        eps1 = problem.eps(combine((a1[n], x), (b1[n], eps)), t1[n])
        u2 = combine((a2[n], x), (b2[n] - c2[n], eps), (c2[n], eps1))
        x = combine((a[n], x), (b[n] - c[n], eps), (c[n], problem.eps(u2, t2[n])))
        yield t[n + 1], x

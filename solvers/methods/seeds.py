"""SEEDS-1, 2 and 3: exponential stochastic Runge–Kutta methods on the reverse SDE, in the noise prediction."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine

PAPER = (
    "Gonzalez et al. 2023",
    "SEEDS: Exponential SDE Solvers for Fast High-Quality Sampling from Diffusion Models",
    "arXiv:2305.14267",
)


def noises(problem: Problem, times: Tensor) -> tuple[list[list[float]], list[list[float]]]:
    """The clock σ̂² at the stage times (n, m + 1) of every step, and the scales √|Δσ̂²| (n, m) of its increments."""
    clock = problem.process.sigma_hat(times) ** 2
    return clock.tolist(), torch.sqrt(torch.diff(clock, dim=1).abs()).tolist()


def coefficients(problem: Problem, grid: Tensor, at: Tensor) -> tuple[list[float], list[float], list[float]]:
    """α_s/α, −2σ_s (e^{λ_s − λ} − 1) and α_s for steps from grid[:-1] to times s (n,)."""
    p, start = problem.process, grid[:-1]
    b = -2 * p.sigma(at) * torch.expm1(p.lam(at) - p.lam(start))
    return torch.exp(p.log_alpha(at) - p.log_alpha(start)).tolist(), b.tolist(), p.alpha(at).tolist()


@solver("seeds-1", kind="sde", order=1, strong=1.0, reference=Reference(*PAPER, "Alg. 1"))
def seeds_1(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """SEEDS-1: x' = (α'/α) x − 2σ'(e^h − 1) ε + σ' √(e^{2h} − 1) z, the reverse SDE exactly with ε held.

    The noise dial is 1, the clock σ̂², in which the noise is α' ΔW.
    """
    a, b, alpha = coefficients(problem, grid, grid[1:])
    clock, root = noises(problem, torch.stack([grid[:-1], grid[1:]], 1))
    t = grid.tolist()
    for n in range(len(t) - 1):
        z = problem.increment(clock[n][0], clock[n][1])
        x = combine((a[n], x), (b[n], problem.eps(x, t[n])), (alpha[n] * root[n][0], z))
        yield t[n + 1], x


@solver(
    "seeds-2",
    kind="sde",
    order=2,
    strong=1.0,
    drift=2,
    calls_per_step=2,
    reference=Reference(*PAPER, "Alg. 2"),
    aliases=("sample_seeds_2",),
)
def seeds_2(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """SEEDS-2: u at the middle of the step in λ by SEEDS-1, then x' = (α'/α) x − 2σ'(e^h − 1) ε(u) + α' (ΔW₁ + ΔW₂).

    The noise dial is 1, the clock σ̂²; ΔW₁ of the first half is also u's noise. ComfyUI's seeds_2 is the variant in x0.
    """
    p = problem.process
    lam = p.lam(grid)
    s = p.t_of_lam(0.5 * (lam[:-1] + lam[1:]))
    (a1, b1, alpha1), (a, b, alpha) = coefficients(problem, grid, s), coefficients(problem, grid, grid[1:])
    clock, root = noises(problem, torch.stack([grid[:-1], s, grid[1:]], 1))
    t, middle = grid.tolist(), s.tolist()
    for n in range(len(t) - 1):
        z = [problem.increment(clock[n][i], clock[n][i + 1]) for i in range(2)]
        u = combine((a1[n], x), (b1[n], problem.eps(x, t[n])), (alpha1[n] * root[n][0], z[0]))
        w = [(alpha[n] * size, part) for size, part in zip(root[n], z, strict=True)]
        x = combine((a[n], x), (b[n], problem.eps(u, middle[n])), *w)
        yield t[n + 1], x


@solver(
    "seeds-3",
    kind="sde",
    order=2,
    claimed=3,
    strong=1.0,
    drift=3,
    calls_per_step=3,
    reference=Reference(*PAPER, "Alg. 3"),
    aliases=("sample_seeds_3",),
)
def seeds_3(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """SEEDS-3: DPM-Solver-3's stages at r₁ = ⅓ and r₂ = ⅔ with twice its ε, and the path's noise at every stage.

    The noise dial is 1, the clock σ̂². ComfyUI's seeds_3 is the variant in x0.
    """
    p, r1, r2 = problem.process, 1 / 3, 2 / 3
    lam = p.lam(grid)
    h = torch.diff(lam)
    s1, s2 = p.t_of_lam(lam[:-1] + r1 * h), p.t_of_lam(lam[:-1] + r2 * h)
    (a1, b1, alpha1), (a2, b2, alpha2), (a, b, alpha) = (coefficients(problem, grid, s) for s in (s1, s2, grid[1:]))
    c2 = (-2 * p.sigma(s2) * (r2 / r1) * (torch.expm1(r2 * h) / (r2 * h) - 1)).tolist()
    c = (-2 * p.sigma(grid[1:]) / r2 * (torch.expm1(h) / h - 1)).tolist()
    clock, root = noises(problem, torch.stack([grid[:-1], s1, s2, grid[1:]], 1))
    t, t1, t2 = grid.tolist(), s1.tolist(), s2.tolist()
    for n in range(len(t) - 1):
        dw = [root[n][i] * problem.increment(clock[n][i], clock[n][i + 1]) for i in range(3)]
        eps = problem.eps(x, t[n])
        u1 = combine((a1[n], x), (b1[n], eps), (alpha1[n], dw[0]))
        d1 = problem.eps(u1, t1[n]) - eps
        u2 = combine((a2[n], x), (b2[n], eps), (c2[n], d1), *((alpha2[n], w) for w in dw[:2]))
        d2 = problem.eps(u2, t2[n]) - eps
        x = combine((a[n], x), (b[n], eps), (c[n], d2), *((alpha[n], w) for w in dw))
        yield t[n + 1], x

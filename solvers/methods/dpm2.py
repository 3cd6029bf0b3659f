"""DPM2: the midpoint method in σ̂ with its midpoint in log σ̂, and its ancestral form."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine

REFERENCE = Reference(
    "Karras et al. 2022",
    "Elucidating the Design Space of Diffusion-Based Generative Models",
    "arXiv:2206.00364",
    "Alg. 2 with the midpoint of k-diffusion",
)


def geometric_midpoint(problem: Problem, x: Tensor, grid: Tensor, up: Tensor) -> Iterator[Step]:
    """From σ̂ to down = √(σ̂'² − up²) through u at √(σ̂ down), x/α ← x/α + (down − σ̂) ε(u), then noise of size up (n,)."""
    p = problem.process
    s, alpha = p.sigma_hat(grid), p.alpha(grid)
    down = torch.sqrt(s[1:] ** 2 - up**2)
    middle = torch.sqrt(s[:-1] * down)
    t_middle = p.t_of_sigma_hat(middle)
    alpha_middle = p.alpha(t_middle)
    a_u, b_u = (alpha_middle / alpha[:-1]).tolist(), (alpha_middle * (middle - s[:-1])).tolist()
    a, b, c = (alpha[1:] / alpha[:-1]).tolist(), (alpha[1:] * (down - s[:-1])).tolist(), (alpha[1:] * up).tolist()
    t, t_u, clock = grid.tolist(), t_middle.tolist(), (s**2).tolist()
    for n in range(len(t) - 1):
        u = combine((a_u[n], x), (b_u[n], problem.eps(x, t[n])))
        terms = [(a[n], x), (b[n], problem.eps(u, t_u[n]))]
        if c[n]:
            terms.append((c[n], problem.increment(clock[n], clock[n + 1])))
        x = combine(*terms)
        yield t[n + 1], x


@solver(
    "dpm2",
    order=2,
    calls_per_step=2,
    grid="karras",
    reference=REFERENCE,
    aliases=("KDPM2DiscreteScheduler", "sample_dpm_2", "DPM2 Karras"),
)
def dpm2(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """DPM2: u = x + (√(σ̂σ̂') − σ̂) ε, x' = x + (σ̂' − σ̂) ε(u), for x/α."""
    return geometric_midpoint(problem, x, grid, torch.zeros_like(grid[1:]))


@solver(
    "dpm2-ancestral",
    kind="sde",
    order=2,
    strong=1.0,
    calls_per_step=2,
    grid="karras",
    reference=REFERENCE,
    aliases=("KDPM2AncestralDiscreteScheduler", "sample_dpm_2_ancestral", "DPM2 a", "DPM2 a Karras"),
)
def dpm2_ancestral(problem: Problem, x: Tensor, grid: Tensor, *, eta: float = 1.0) -> Iterator[Step]:
    """DPM2 down to σ̂_down = √(σ̂'² − σ̂_up²), then noise σ̂_up z, with σ̂_up² = η² σ̂'² (1 − σ̂'²/σ̂²), for x/α.

    The deterministic part and the noise each carry p_t exactly to where it belongs, so the marginals have order 2; the
    paths of the reverse SDE, whose noise dial `eta` is, have order 1. Its clock is σ̂².
    """
    return geometric_midpoint(problem, x, grid, sigma_up(problem, grid, eta))


def sigma_up(problem: Problem, grid: Tensor, eta: float) -> Tensor:
    """σ̂_up (n,) of the ancestral steps along grid (n + 1,)."""
    s = problem.process.sigma_hat(grid)
    return eta * s[1:] * torch.sqrt((1 - (s[1:] / s[:-1]) ** 2).clamp_min(0))

"""Ancestral sampling: DDPM's posterior steps, and Euler's method in σ̂ with noise put back."""

from collections.abc import Iterator

import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine
from .dpm2 import sigma_up

VARIANCES = ("fixed_small", "fixed_large")


def transition(problem: Problem, grid: Tensor) -> tuple[Tensor, Tensor]:
    """a and v (n,) of the forward transition x_t = a x_s + √v z from s = grid[n + 1] up to t = grid[n]."""
    p = problem.process
    a = torch.exp(-torch.diff(p.log_alpha(grid)))
    return a, (p.sigma(grid[:-1]) ** 2 - a**2 * p.sigma(grid[1:]) ** 2).clamp_min(0)


def posterior(problem: Problem, grid: Tensor, variance_type: str) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients (n,) of x, D and z in a draw of x_s given x_t and x_0 = D; UsageError for an unknown variance."""
    if variance_type not in VARIANCES:
        raise UsageError(f"ddpm: variance_type must be one of {', '.join(VARIANCES)}, got {variance_type!r}")
    p = problem.process
    a, v = transition(problem, grid)
    ratio = (p.sigma(grid[1:]) / p.sigma(grid[:-1])) ** 2
    variance = v if variance_type == "fixed_large" else ratio * v
    return a * ratio, p.alpha(grid[1:]) * v / p.sigma(grid[:-1]) ** 2, torch.sqrt(variance)


@solver(
    "ddpm",
    kind="sde",
    order=1,
    strong=1.0,
    grid="time_uniform",
    reference=Reference(
        "Ho, Jain & Abbeel 2020", "Denoising Diffusion Probabilistic Models", "arXiv:2006.11239", "Alg. 2"
    ),
    aliases=("DDPMScheduler", "AncestralSamplingPredictor", "sample_ddpm"),
)
def ddpm(problem: Problem, x: Tensor, grid: Tensor, *, variance_type: str = "fixed_small") -> Iterator[Step]:
    """DDPM: x' from q(x' | x, x_0 = D), x' = a (σ'²/σ²) x + α' (v/σ²) D + √var z, v = σ² − a²σ'² and a = α/α'.

    `variance_type` is var: `fixed_small` the posterior's v σ'²/σ² (then the step is DDIM's at η = 1), `fixed_large` the
    transition's v, the two choices of the paper's section 3.2. The noise dial is 1; the clock is σ̂².
    """
    a, b, c = (part.tolist() for part in posterior(problem, grid, variance_type))
    t, clock = grid.tolist(), (problem.process.sigma_hat(grid) ** 2).tolist()
    for n in range(len(t) - 1):
        x = combine((a[n], x), (b[n], problem.denoise(x, t[n])), (c[n], problem.increment(clock[n], clock[n + 1])))
        yield t[n + 1], x


@solver(
    "euler-ancestral",
    kind="sde",
    order=1,
    strong=1.0,
    grid="karras",
    reference=Reference(
        "Karras et al. 2022",
        "Elucidating the Design Space of Diffusion-Based Generative Models",
        "arXiv:2206.00364",
        "Alg. 2 with the ancestral split of k-diffusion",
    ),
    aliases=("EulerAncestralDiscreteScheduler", "sample_euler_ancestral", "Euler a"),
)
def euler_ancestral(problem: Problem, x: Tensor, grid: Tensor, *, eta: float = 1.0) -> Iterator[Step]:
    """Euler's method in σ̂ down to σ̂_down = √(σ̂'² − σ̂_up²), then noise σ̂_up z, with σ̂_up² = η² σ̂'² (1 − σ̂'²/σ̂²), for x/α.

    The same map as DDIM with that η, which is the noise dial of the reverse SDE; the clock is σ̂².
    """
    p = problem.process
    s, alpha, up = p.sigma_hat(grid), p.alpha(grid), sigma_up(problem, grid, eta)
    down = torch.sqrt(s[1:] ** 2 - up**2)
    a, b, c = (alpha[1:] / alpha[:-1]).tolist(), (alpha[1:] * (down - s[:-1])).tolist(), (alpha[1:] * up).tolist()
    t, clock = grid.tolist(), (s**2).tolist()
    for n in range(len(t) - 1):
        terms = [(a[n], x), (b[n], problem.eps(x, t[n]))]
        if c[n]:
            terms.append((c[n], problem.increment(clock[n], clock[n + 1])))
        x = combine(*terms)
        yield t[n + 1], x

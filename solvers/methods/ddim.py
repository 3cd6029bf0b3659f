"""Denoising diffusion implicit models: deterministic at η = 0, ancestral at η = 1."""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from scorebench.reference_models.process import Process

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine


@solver(
    "ddim",
    order=1,
    strong=1.0,
    grid="time_uniform",
    reference=Reference(
        "Song, Meng & Ermon 2021", "Denoising Diffusion Implicit Models", "arXiv:2010.02502", "eq. 12, 16"
    ),
    aliases=("DDIMScheduler",),
)
def ddim(problem: Problem, x: Tensor, grid: Tensor, *, eta: float = 0.0) -> Iterator[Step]:
    """DDIM: x' = α'(x − σε)/α + √(σ'² − σ_η²) ε + σ_η z, with σ_η² = η² σ'² (1 − σ̂'²/σ̂²).

    `eta` is the noise dial of the reverse SDE itself: as steps shrink, σ_η² tends to η² g² dt. Its clock is σ̂².
    """
    t = grid.tolist()
    a, b, c, clock = coefficients(problem.process, tuple(t), eta)
    for n in range(len(a)):
        eps = problem.eps(x, t[n])
        terms = [(a[n], x), (b[n], eps)]
        if c[n]:
            terms.append((c[n], problem.increment(clock[n], clock[n + 1])))
        x = combine(*terms)
        yield t[n + 1], x


@lru_cache(maxsize=64)
def coefficients(p: Process, times: tuple[float, ...], eta: float) -> tuple[list[float], ...]:
    """What multiplies x, ε and z in each step of a grid, and the clock; the same for every batch."""
    grid = torch.tensor(times, dtype=torch.float64)
    alpha, sigma, s = p.alpha(grid), p.sigma(grid), p.sigma_hat(grid) ** 2
    up = eta * sigma[1:] * torch.sqrt((1 - s[1:] / s[:-1]).clamp_min(0))
    down = torch.sqrt(sigma[1:] ** 2 - up**2)
    ratio = alpha[1:] / alpha[:-1]
    return ratio.tolist(), (down - ratio * sigma[:-1]).tolist(), up.tolist(), s.tolist()

"""The stochastic sampler of EDM: noise is put in before every step of Heun's method (churn)."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine


@solver(
    "edm-heun",
    kind="sde",
    order=None,
    dial=lambda **options: None,
    calls_per_step=2,
    grid="karras",
    reference=Reference(
        "Karras et al. 2022",
        "Elucidating the Design Space of Diffusion-Based Generative Models",
        "arXiv:2206.00364",
        "Alg. 2",
    ),
    aliases=("edm_sampler", "EDM stochastic", "KarrasVeScheduler"),
)
def edm_heun(
    problem: Problem,
    x: Tensor,
    grid: Tensor,
    *,
    S_churn: float = 40.0,
    S_min: float = 0.05,
    S_max: float = 50.0,
    S_noise: float = 1.0,
) -> Iterator[Step]:
    """EDM's stochastic sampler: x/α gets noise S_noise √(σ̃² − σ̂²) z with σ̃ = (1 + γ) σ̂, then Heun's step from σ̃ to σ̂'.

    γ = min(S_churn/n, √2 − 1) while σ̂ is in [S_min, S_max], else 0. The defaults are the paper's for ImageNet-64 but for
    S_noise, 1.003 there: any value but 1 moves p_t. σ̃ goes no higher than σ̂(t_max), where models end. The noise is
    taken out again by the step, so that its size depends on n and there is no path: it is independent from step to step.
    """
    p = problem.process
    s, alpha = p.sigma_hat(grid), p.alpha(grid)
    churned = (s[:-1] >= S_min) & (s[:-1] <= S_max)
    gamma = churned.double() * min(S_churn / (len(grid) - 1), math.sqrt(2) - 1)
    top = p.sigma_hat(torch.tensor(p.t_max, dtype=torch.float64))
    raised = torch.minimum((1 + gamma) * s[:-1], torch.maximum(top, s[:-1]))
    t_raised = torch.where(raised > s[:-1], p.t_of_sigma_hat(raised), grid[:-1])
    extra = S_noise * torch.sqrt(raised**2 - s[:-1] ** 2)
    alpha_raised, h = p.alpha(t_raised), s[1:] - raised
    lift, noise = (alpha_raised / alpha[:-1]).tolist(), (alpha_raised * extra).tolist()
    a, b = (alpha[1:] / alpha_raised).tolist(), (alpha[1:] * h).tolist()
    t, t_from = grid.tolist(), t_raised.tolist()
    for n in range(len(t) - 1):
        if noise[n]:
            x = combine((lift[n], x), (noise[n], problem.independent(n)))
        k = problem.eps(x, t_from[n])
        again = problem.eps(combine((a[n], x), (b[n], k)), t[n + 1])
        x = combine((a[n], x), (0.5 * b[n], k), (0.5 * b[n], again))
        yield t[n + 1], x

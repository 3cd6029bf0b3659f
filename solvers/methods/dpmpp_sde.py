"""DPM++ SDE and DPM++ 2S ancestral: two stages in the data prediction, with noise put back by ancestral steps."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine

K_DIFFUSION = ("Crowson 2022", "k-diffusion", "https://github.com/crowsonkb/k-diffusion")


def split(s: Tensor, s_next: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """σ̂_down and σ̂_up of an ancestral step: σ̂_up² = η² σ̂'² (1 − σ̂'²/σ̂²), at most σ̂'², and σ̂_down² = σ̂'² − σ̂_up²."""
    up = torch.minimum(s_next, eta * s_next * torch.sqrt((1 - (s_next / s) ** 2).clamp_min(0)))
    return torch.sqrt(s_next**2 - up**2), up


@solver(
    "dpmpp-sde",
    kind="sde",
    order=2,
    strong=1.0,
    drift=2,
    calls_per_step=2,
    grid="karras",
    reference=Reference(*K_DIFFUSION, "sample_dpmpp_sde"),
    aliases=("DPMSolverSDEScheduler", "sample_dpmpp_sde", "dpmpp_sde_gpu", "DPM++ SDE", "DPM++ SDE Karras"),
)
def dpmpp_sde(problem: Problem, x: Tensor, grid: Tensor, *, eta: float = 1.0) -> Iterator[Step]:
    """DPM++ SDE: ancestral steps to the middle in λ with D, and to the end with D(u), both from the start of the step.

    With y = x/α and σ̂_down, σ̂_up of each: u = (σ̂_down/σ̂) y + (1 − σ̂_down/σ̂) D + σ̂_up z. The noises z of both are
    increments of one path in σ̂, its clock here as in the original. `eta` is the noise dial of the reverse SDE.
    """
    p = problem.process
    s, alpha = p.sigma_hat(grid), p.alpha(grid)
    middle = torch.sqrt(s[:-1] * s[1:])
    t_mid = p.t_of_sigma_hat(middle)
    down_mid, up_mid = split(s[:-1], middle, eta)
    down, up = split(s[:-1], s[1:], eta)
    stages = []
    for at, low, high in ((p.alpha(t_mid), down_mid, up_mid), (alpha[1:], down, up)):
        kept = low / s[:-1]
        stages.append(((at / alpha[:-1] * kept).tolist(), (at * (1 - kept)).tolist(), (at * high).tolist()))
    (a1, b1, c1), (a, b, c) = stages
    t, half, clock, clock_mid = grid.tolist(), t_mid.tolist(), s.tolist(), middle.tolist()
    for n in range(len(t) - 1):
        terms = [(a1[n], x), (b1[n], problem.denoise(x, t[n]))]
        if c[n]:
            terms.append((c1[n], problem.increment(clock[n], clock_mid[n])))
        terms = [(a[n], x), (b[n], problem.denoise(combine(*terms), half[n]))]
        if c[n]:
            terms.append((c[n], problem.increment(clock[n], clock[n + 1])))
        x = combine(*terms)
        yield t[n + 1], x


@solver(
    "dpmpp-2s-ancestral",
    kind="sde",
    order=2,
    strong=1.0,
    calls_per_step=2,
    grid="karras",
    reference=Reference(*K_DIFFUSION, "sample_dpmpp_2s_ancestral"),
    aliases=("sample_dpmpp_2s_ancestral", "dpmpp_2s_a", "DPM++ 2S a", "DPM++ 2S a Karras"),
)
def dpmpp_2s_ancestral(problem: Problem, x: Tensor, grid: Tensor, *, eta: float = 1.0) -> Iterator[Step]:
    """DPM++ 2S ancestral: DPM-Solver++(2S) down to σ̂_down, then noise σ̂_up z; at η = 1 its stage is at σ̂' itself.

    The stage has no noise, and yet the weak order is 2. `eta` is the noise dial of the reverse SDE; the clock is 1/σ̂².
    """
    p = problem.process
    s, alpha = p.sigma_hat(grid), p.alpha(grid)
    down, up = split(s[:-1], s[1:], eta)
    middle = torch.sqrt(s[:-1] * down)
    t_mid = p.t_of_sigma_hat(middle)
    kept_mid, kept = middle / s[:-1], down / s[:-1]
    a1, b1 = (p.alpha(t_mid) / alpha[:-1] * kept_mid).tolist(), (p.alpha(t_mid) * (1 - kept_mid)).tolist()
    a, b = (alpha[1:] / alpha[:-1] * kept).tolist(), (alpha[1:] * (1 - kept)).tolist()
    c, clock = (alpha[1:] * up).tolist(), (s**-2).tolist()
    t, half = grid.tolist(), t_mid.tolist()
    for n in range(len(t) - 1):
        u = combine((a1[n], x), (b1[n], problem.denoise(x, t[n])))
        terms = [(a[n], x), (b[n], problem.denoise(u, half[n]))]
        if c[n]:
            terms.append((c[n], problem.increment(clock[n], clock[n + 1])))
        x = combine(*terms)
        yield t[n + 1], x

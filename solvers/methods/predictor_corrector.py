"""Reverse diffusion, and predictor–corrector sampling: reverse diffusion with Langevin steps."""

from collections.abc import Iterator

import torch
from torch import Tensor

from scorebench.reference_models.parameterisation import broadcast

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine

PAPER = ("Song et al. 2021", "Score-Based Generative Modeling through SDEs", "arXiv:2011.13456")


def predictor(problem: Problem, grid: Tensor) -> list[tuple[float, float, float]]:
    """Coefficients of x, s and z in the reverse diffusion step: the forward transition x_n → x_{n−1} turned around.

    Forward, x_t = a x_s + √v z with a = α_t/α_s and v = σ_t² − a²σ_s²; backward, x_s = (2 − a) x_t + v s + √v z.
    """
    p = problem.process
    a = torch.exp(-torch.diff(p.log_alpha(grid)))
    v = p.sigma(grid[:-1]) ** 2 - a**2 * p.sigma(grid[1:]) ** 2
    return list(zip((2 - a).tolist(), v.tolist(), torch.sqrt(v.clamp_min(0)).tolist(), strict=True))


@solver(
    "reverse-diffusion",
    kind="sde",
    order=1,
    grid="time_uniform",
    reference=Reference(*PAPER, "appendix E, eq. 46"),
    aliases=("ReverseDiffusionPredictor",),
)
def reverse_diffusion(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """Reverse diffusion: the discrete forward transition turned around, x' = (2 − a) x + v s + √v z; its clock is t."""
    t = grid.tolist()
    for n, (a, v, root) in enumerate(predictor(problem, grid)):
        x = combine((a, x), (v, problem.score(x, t[n])), (root, problem.increment(t[n], t[n + 1])))
        yield t[n + 1], x


@solver(
    "pc",
    kind="sde",
    order=None,
    calls_per_step=2,
    grid="time_uniform",
    reference=Reference(*PAPER, "Alg. 2–5"),
    aliases=("predictor-corrector", "ScoreSdeVeScheduler"),
)
def pc(problem: Problem, x: Tensor, grid: Tensor, *, snr: float = 0.16) -> Iterator[Step]:
    """Predictor–corrector: one Langevin step at each noise level, x ← x + δ s + √(2δ) z, then reverse diffusion.

    δ = 2a (snr ‖z‖/‖s‖)² with norms per sample, so that no sample depends on its batch (the published code averages
    the norms over the batch), and a = (α/α_max)² as published for VP, 1 for VE. In few dimensions the ratio of norms
    is heavy-tailed, so the step depends on the state and p_t is no longer invariant: this is a method for images.
    """
    t = grid.tolist()
    damping = (problem.process.alpha(grid[:-1]) / problem.process.alpha(grid[:-1]).max()).pow(2).tolist()
    for n, (a, v, root) in enumerate(predictor(problem, grid)):
        s, z = problem.score(x, t[n]), problem.independent(n)
        size = 2 * damping[n] * (snr * z.flatten(1).norm(dim=1) / s.flatten(1).norm(dim=1)) ** 2
        x = x + broadcast(size, x) * s + broadcast(torch.sqrt(2 * size), x) * z
        x = combine((a, x), (v, problem.score(x, t[n])), (root, problem.increment(t[n], t[n + 1])))
        yield t[n + 1], x

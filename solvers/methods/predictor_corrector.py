"""Reverse diffusion; predictor–corrector sampling: a step of a predictor after each Langevin step; Langevin steps alone."""

from collections.abc import Iterator

import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.parameterisation import broadcast

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine
from .ancestral import posterior, transition

PAPER = ("Song et al. 2021", "Score-Based Generative Modeling through SDEs", "arXiv:2011.13456")
PREDICTORS = ("reverse_diffusion", "euler_maruyama", "ddpm")
CORRECTORS = ("langevin", "ald")


def coefficients(problem: Problem, grid: Tensor, predictor: str) -> list[tuple[float, float, float]]:
    """What a predictor's steps multiply x, s and z with.

    Reverse diffusion turns the forward transition x_t = a x_s + √v z around: x_s = (2 − a) x_t + v s + √v z.
    """
    p = problem.process
    if predictor == "euler_maruyama":
        dt = grid[:-1] - grid[1:]
        f, g2 = p.f(grid[:-1]), p.g2(grid[:-1])
        parts = 1 - f * dt, g2 * dt, torch.sqrt(g2 * dt)
    elif predictor == "ddpm":
        x, d, z = posterior(problem, grid, "fixed_small")
        parts = x + d / p.alpha(grid[:-1]), d * p.sigma(grid[:-1]) ** 2 / p.alpha(grid[:-1]), z  # D = (x + σ²s)/α
    elif predictor == "reverse_diffusion":
        a, v = transition(problem, grid)
        parts = 2 - a, v, torch.sqrt(v)
    else:
        raise UsageError(f"pc: predictor must be one of {', '.join(PREDICTORS)}, got {predictor!r}")
    return list(zip(*(part.tolist() for part in parts), strict=True))


@solver(
    "reverse-diffusion",
    kind="sde",
    order=1,
    strong=1.0,
    grid="time_uniform",
    reference=Reference(*PAPER, "appendix E, eq. 46"),
    aliases=("ReverseDiffusionPredictor",),
)
def reverse_diffusion(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """Reverse diffusion: the discrete forward transition turned around, x' = (2 − a) x + v s + √v z; its clock is t."""
    t = grid.tolist()
    for n, (a, v, root) in enumerate(coefficients(problem, grid, "reverse_diffusion")):
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
def pc(
    problem: Problem,
    x: Tensor,
    grid: Tensor,
    *,
    snr: float = 0.16,
    predictor: str = "reverse_diffusion",
    corrector: str = "langevin",
) -> Iterator[Step]:
    """Predictor–corrector: one Langevin step at each noise level, x ← x + δ s + √(2δ) z, then a step of the predictor.

    `predictor` is reverse_diffusion, euler_maruyama or ddpm (ancestral sampling); `corrector` is langevin or ald, see
    `langevin`. As steps and snr² shrink together, p_t is kept, but for the corrector langevin in few dimensions.
    """
    t = grid.tolist()
    steps = coefficients(problem, grid, predictor)
    sizes = step_sizes(problem, grid, grid[:-1], snr, corrector)
    for n, (a, v, root) in enumerate(steps):
        x = langevin(problem, x, t[n], problem.independent(n), sizes[n], corrector)
        x = combine((a, x), (v, problem.score(x, t[n])), (root, problem.increment(t[n], t[n + 1])))
        yield t[n + 1], x


@solver(
    "annealed-langevin",
    kind="sde",
    order=None,
    dial=lambda **options: None,
    grid="time_uniform",
    reference=Reference(
        "Song & Ermon 2019",
        "Generative Modeling by Estimating Gradients of the Data Distribution",
        "arXiv:1907.05600",
        "Alg. 1 with one step a level",
    ),
    aliases=("AnnealedLangevinDynamics", "ald", "corrector-only"),
)
def annealed_langevin(
    problem: Problem, x: Tensor, grid: Tensor, *, snr: float = 0.16, corrector: str = "ald"
) -> Iterator[Step]:
    """Annealed Langevin dynamics: one step x ← x + δ s + √(2δ) z at each noise level of the grid after the first.

    `corrector` is ald or langevin, see `langevin`. Nothing else moves x from level to level, so that it lags behind p_t
    unless there are many levels: the paper takes 100 steps on each of 10. p_t itself is kept as snr² shrinks.
    """
    sizes = step_sizes(problem, grid, grid[1:], snr, corrector)
    for n, t in enumerate(grid[1:].tolist()):
        x = langevin(problem, x, t, problem.independent(n), sizes[n], corrector)
        yield t, x


def step_sizes(problem: Problem, grid: Tensor, levels: Tensor, snr: float, corrector: str) -> list[float]:
    """2a snr², times σ² for ald, at each level (n,), one a step of the grid (n + 1,).

    a is what the step's transition keeps of the variance, (α_t/α_s)²: the paper's α_i = 1 − β_i for VP, and 1 for VE.
    """
    if corrector not in CORRECTORS:
        raise UsageError(f"corrector must be one of {', '.join(CORRECTORS)}, got {corrector!r}")
    sizes = 2 * snr**2 * torch.exp(-2 * torch.diff(problem.process.log_alpha(grid)))
    return (sizes * problem.process.sigma(levels) ** 2 if corrector == "ald" else sizes).tolist()


def langevin(problem: Problem, x: Tensor, t: float, z: Tensor, size: float, corrector: str) -> Tensor:
    """x + δ s + √(2δ) z. For ald δ = 2a (snr σ)²; for langevin δ = 2a (snr ‖z‖/‖s‖)², the norms of each sample.

    The published code averages those norms over the batch; here no sample depends on its batch. In d dimensions a step
    that depends on the state moves p_t: on N(0, vI) the variance grows by the factor 1 + 16 a snr²/(d − 2), small for
    images and not for points in the plane. The step of ald is the same everywhere, so that p_t is kept.
    """
    s = problem.score(x, t)
    if corrector == "ald":
        return combine((1.0, x), (size, s), ((2 * size) ** 0.5, z))
    each = size * (z.flatten(1).norm(dim=1) / s.flatten(1).norm(dim=1)) ** 2
    return x + broadcast(each, x) * s + broadcast(torch.sqrt(2 * each), x) * z

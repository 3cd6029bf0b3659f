"""DPM-Solver++(2M): the two-step exponential method in the data prediction."""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from scorebench.reference_models.process import Process

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine


@solver(
    "dpmpp-2m",
    order=2,
    reference=Reference(
        "Lu et al. 2022",
        "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
        "arXiv:2211.01095",
        "Alg. 2",
    ),
    aliases=("DPMSolverMultistepScheduler", "sample_dpmpp_2m", "DPM-Solver++(2M)", "DPM++ 2M Karras"),
)
def dpmpp_2m(problem: Problem, x: Tensor, grid: Tensor, *, lower_order_final: bool = False) -> Iterator[Step]:
    """DPM-Solver++(2M): x' = (σ'/σ) x − α'(e^{−h} − 1)[(1 + 1/2r) D − (1/2r) D₋₁], r = h₋₁/h; the first step has order 1.

    `lower_order_final` takes the last step with order 1, as the libraries do below 10 or 15 steps.
    """
    p, t = problem.process, grid.tolist()
    a, b, steps = coefficients(p, tuple(t))
    previous, last = None, len(steps) - 1
    before = 1.0  # the step before
    if problem.start:
        t_before, x_before = problem.start[-1]
        previous = problem.denoise(x_before, t_before)
        before = float(p.lam(grid[0]) - p.lam(torch.tensor(t_before, dtype=torch.float64)))
    for n, h in enumerate(steps):
        d = problem.denoise(x, t[n])
        k = 0.0 if previous is None or (lower_order_final and n == last) else 0.5 * h / before  # 1/2r
        x = combine((a[n], x), (b[n] * (1 + k), d), *([(-b[n] * k, previous)] if previous is not None else []))
        previous, before = d, h
        yield t[n + 1], x


@lru_cache(maxsize=64)
def coefficients(p: Process, times: tuple[float, ...]) -> tuple[list[float], list[float], list[float]]:
    """σ'/σ, −α'(e^{−h} − 1) and h of each step of a grid; the same for every batch."""
    grid = torch.tensor(times, dtype=torch.float64)
    h = torch.diff(p.lam(grid))
    a = torch.exp(torch.diff(torch.log(p.sigma(grid))))
    return a.tolist(), (-p.alpha(grid[1:]) * torch.expm1(-h)).tolist(), h.tolist()

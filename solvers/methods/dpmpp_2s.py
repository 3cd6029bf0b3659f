"""DPM-Solver++(2S): the two-stage single-step exponential method in the data prediction."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine

PAPER = Reference(
    "Lu et al. 2022",
    "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
    "arXiv:2211.01095",
    "Alg. 1",
)


@solver(
    "dpmpp-2s",
    order=2,
    calls_per_step=2,
    reference=PAPER,
    aliases=("DPMSolverSinglestepScheduler", "DPM-Solver++(2S)", "DPM++ 2S"),
)
def dpmpp_2s(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """DPM-Solver++(2S) with r = ½: u at the middle of the step in λ, x' = (σ'/σ) x − α'(e^{−h} − 1) D(u).

    The paper's (1 − 1/2r) D + (1/2r) D(u) is D(u) at r = ½, the value of all libraries.
    """
    p = problem.process
    lam, log_sigma = p.lam(grid), torch.log(p.sigma(grid))
    h = torch.diff(lam)
    s = p.t_of_lam(lam[:-1] + 0.5 * h)
    a_s, b_s = (
        torch.exp(torch.log(p.sigma(s)) - log_sigma[:-1]).tolist(),
        (-p.alpha(s) * torch.expm1(-0.5 * h)).tolist(),
    )
    a, b = torch.exp(torch.diff(log_sigma)).tolist(), (-p.alpha(grid[1:]) * torch.expm1(-h)).tolist()
    t, middle = grid.tolist(), s.tolist()
    for n in range(len(t) - 1):
        u = combine((a_s[n], x), (b_s[n], problem.denoise(x, t[n])))
        x = combine((a[n], x), (b[n], problem.denoise(u, middle[n])))
        yield t[n + 1], x

"""RES multistep: the refined exponential solver whose second stage is the step before."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..facts import Reference, Step, solver
from ..multistep import before, with_past
from ..problem import Problem
from ..update import combine


@solver(
    "res-2m",
    order=2,
    reference=Reference(
        "Zhang et al. 2023",
        "Improved Order Analysis and Design of Exponential Integrator for Diffusion Models Sampling",
        "arXiv:2308.02157",
        "Alg. 2",
    ),
    aliases=("sample_res_multistep",),
)
def res_2m(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """RES multistep: x' = (σ'/σ) x + α' h [(φ₁ − φ₂/c₂) D + (φ₂/c₂) D₋₁], c₂ = −h₋₁/h; the first step is DDIM.

    Here φ₁ = (1 − e^{−h})/h and φ₂ = (e^{−h} − 1 + h)/h², the exponential functions at −h.
    """
    p, past, t = problem.process, before(problem, 2), grid.tolist()
    steps = torch.diff(p.lam(with_past(past, grid)))
    h = steps[len(past) :]
    phi1, phi2 = -torch.expm1(-h) / h, (torch.expm1(-h) + h) / h**2
    c2 = torch.cat([torch.full((1 - len(past),), -torch.inf, dtype=torch.float64), -steps[:-1] / steps[1:]])
    scale = p.alpha(grid[1:]) * h
    a = torch.exp(torch.diff(torch.log(p.sigma(grid)))).tolist()
    b1, b2 = (scale * (phi1 - phi2 / c2)).tolist(), (scale * phi2 / c2).tolist()
    history = [problem.denoise(x_before, t_before) for t_before, x_before in past]
    for n in range(len(t) - 1):
        d = problem.denoise(x, t[n])
        x, history = combine((a[n], x), (b1[n], d), (b2[n], history[0] if history else d)), [d]
        yield t[n + 1], x

"""Gradient estimation: DDIM with the difference of the last two noise predictions added."""

from collections.abc import Iterator

from torch import Tensor

from ..facts import Reference, Step, solver
from ..multistep import before
from ..problem import Problem
from .pndm import step, transfer


@solver(
    "gradient-estimation",
    order=1,
    grid="karras",
    reference=Reference(
        "Permenter & Yuan 2024",
        "Interpreting and Improving Diffusion Models from an Optimization Perspective",
        "arXiv:2306.04848",
        "Alg. 2",
    ),
    aliases=("GE", "sample_gradient_estimation"),
)
def gradient_estimation(problem: Problem, x: Tensor, grid: Tensor, *, gamma: float = 2.0) -> Iterator[Step]:
    """GE: x' = φ(x, γ ε + (1 − γ) ε₋₁), φ being DDIM's step; the first step is DDIM.

    γ = 3/2 would be Adams–Bashforth's second-order weight on equal steps; the paper's γ = 2 reaches further, of order 1.
    """
    t, coefficients = grid.tolist(), transfer(problem.process, grid[:-1], grid[1:])
    history = [problem.eps(x_before, t_before) for t_before, x_before in before(problem, 2)]
    for n in range(len(t) - 1):
        eps = problem.eps(x, t[n])
        previous = history[0] if history else eps
        x, history = step(x, coefficients[n], (1 - gamma, gamma), (previous, eps)), [eps]
        yield t[n + 1], x

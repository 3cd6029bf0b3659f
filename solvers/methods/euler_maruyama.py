"""The Euler–Maruyama method on the reverse SDE."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine


@solver(
    "euler-maruyama",
    kind="sde",
    order=1,
    strong=1.0,
    grid="time_uniform",
    reference=Reference(
        "Song et al. 2021", "Score-Based Generative Modeling through SDEs", "arXiv:2011.13456", "appendix D"
    ),
    aliases=("EulerMaruyamaPredictor",),
)
def euler_maruyama(problem: Problem, x: Tensor, grid: Tensor, *, eta: float = 1.0) -> Iterator[Step]:
    """Euler–Maruyama: x' = x + [f x − ½(1+η²) g² s] Δt + η g ΔW, weak order 1; its clock is t."""
    p = problem.process
    dt = torch.diff(grid)
    f, g2 = p.f(grid[:-1]), p.g2(grid[:-1])
    a, b = (1 + f * dt).tolist(), (-0.5 * (1 + eta**2) * g2 * dt).tolist()
    c = (eta * torch.sqrt(g2 * dt.abs())).tolist()
    t = grid.tolist()
    for n in range(len(t) - 1):
        terms = [(a[n], x), (b[n], problem.score(x, t[n]))]
        if c[n]:
            terms.append((c[n], problem.increment(t[n], t[n + 1])))
        x = combine(*terms)
        yield t[n + 1], x

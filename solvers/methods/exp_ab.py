"""Exponential Adams–Bashforth methods: ε interpolated by a polynomial in λ, the integral of e^{−λ} ε exact."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..facts import Reference, Step, solver
from ..problem import Problem
from ..update import combine

REFERENCE = Reference(
    "Hochbruck & Ostermann 2010", "Exponential integrators", "doi:10.1017/S0962492910000048", "section 2.5"
)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)  # exact to round-off for e^{−s} times a cubic on steps up to 5


def adams_bashforth(problem: Problem, x: Tensor, grid: Tensor, k: int) -> Iterator[Step]:
    """x' = (α'/α) x − α' Σ_j ε_j ∫ e^{−λ} ℓ_j(λ) dλ, ℓ_j Lagrange's polynomials through the last k points in λ."""
    p = problem.process
    past = problem.start[-(k - 1) :]
    times = torch.cat([torch.tensor([t for t, _ in past], dtype=torch.float64), grid])
    lam, alpha = p.lam(times).numpy(), p.alpha(grid).tolist()
    history = [problem.eps(x_before, t) for t, x_before in past]
    t = grid.tolist()
    for n in range(len(t) - 1):
        history = [*history[max(0, len(history) - k + 1) :], problem.eps(x, t[n])]
        now = len(past) + n
        integrals = weights(lam[now + 1 - len(history) : now + 1], lam[now], lam[now + 1])
        terms = [(-alpha[n + 1] * w, eps) for w, eps in zip(integrals, history, strict=True)]
        x = combine((alpha[n + 1] / alpha[n], x), *terms)
        yield t[n + 1], x


def weights(nodes: np.ndarray, low: float, high: float) -> list[float]:
    """∫ e^{−λ} ℓ_j(λ) dλ from low to high for Lagrange's polynomials ℓ_j through the nodes (k,)."""
    lam = 0.5 * (high - low) * NODES + 0.5 * (high + low)
    integrals = []
    for j, node in enumerate(nodes):
        others = np.delete(nodes, j)
        basis = np.prod((lam[:, None] - others) / (node - others), axis=1)
        integrals.append(float(0.5 * (high - low) * np.sum(WEIGHTS * np.exp(-lam) * basis)))
    return integrals


@solver("exp-ab2", order=2, reference=REFERENCE)
def exp_ab2(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """Two-step exponential Adams–Bashforth in ε; the first step is exponential Euler."""
    return adams_bashforth(problem, x, grid, 2)


@solver("exp-ab3", order=3, self_started=2, reference=REFERENCE)
def exp_ab3(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """Three-step exponential Adams–Bashforth in ε; the first two steps have orders 1 and 2."""
    return adams_bashforth(problem, x, grid, 3)

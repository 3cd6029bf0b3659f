"""DPM-Solver++(3M): the three-step exponential method in the data prediction, as published and corrected."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from torch import Tensor

from ..facts import Reference, Step, solver
from ..multistep import before, with_past
from ..problem import Problem
from ..update import combine

REFERENCE = Reference(
    "Lu et al. 2022",
    "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
    "arXiv:2211.01095",
    "appendix B and the authors' code",
)


def weights(lam: np.ndarray, second: float) -> list[float]:
    """The weights of D, oldest first, in x'/α' for λ of up to three past points and of the next.

    `second` multiplies the coefficient of D⁽²⁾: 1 as published, 2 because a divided difference holds D''/2.
    """
    h = lam[-1] - lam[-2]
    phi1 = -np.expm1(-h)
    if len(lam) == 2:
        return [float(phi1)]
    r0 = (lam[-2] - lam[-3]) / h
    if len(lam) == 3:
        return [float(-0.5 * phi1 / r0), float(phi1 + 0.5 * phi1 / r0)]
    r1 = (lam[-3] - lam[-4]) / h
    phi2, phi3 = 1 - phi1 / h, (h - phi1) / h**2 - 0.5
    newest, older = np.array([0, -1, 1]) / r0, np.array([-1, 1, 0]) / r1  # D1_0 and D1_1 by their weights on D
    first, second_difference = newest + r0 / (r0 + r1) * (newest - older), (newest - older) / (r0 + r1)
    result: list[float] = (phi1 * np.array([0, 0, 1]) + phi2 * first - second * phi3 * second_difference).tolist()
    return result


def multistep(problem: Problem, x: Tensor, grid: Tensor, second: float, lower_order_final: bool) -> Iterator[Step]:
    """x' = (σ'/σ) x + α' Σ_j w_j D_j; the first two steps are of order 1 and 2, and so, backwards, the last on request."""
    p, past, t = problem.process, before(problem, 3), grid.tolist()
    lam, sigma, alpha = p.lam(with_past(past, grid)).numpy(), p.sigma(grid).tolist(), p.alpha(grid).tolist()
    kept = [b / a for a, b in pairwise(sigma)]
    steps = len(kept)
    known = [min(3, len(past) + n + 1, steps - n if lower_order_final else 3) for n in range(steps)]
    tables = [weights(lam[len(past) + n + 1 - k : len(past) + n + 2], second) for n, k in enumerate(known)]
    history = [problem.denoise(x_before, t_before) for t_before, x_before in past]
    for n, table in enumerate(tables):
        history = [*history[-2:], problem.denoise(x, t[n])]
        terms = zip(table, history[-len(table) :], strict=True)
        x = combine((kept[n], x), *((alpha[n + 1] * w, d) for w, d in terms))
        yield t[n + 1], x


@solver("dpmpp-3m", order=2, claimed=3, reference=REFERENCE, aliases=("DPM-Solver++(3M)",))
def dpmpp_3m(problem: Problem, x: Tensor, grid: Tensor, *, lower_order_final: bool = False) -> Iterator[Step]:
    """DPM-Solver++(3M): x' = (σ'/σ) x + α'(1 − e^{−h}) D + α' φ₂ D⁽¹⁾ − α' φ₃ D⁽²⁾, as every public library codes it.

    Here φ₂ = (e^{−h} − 1)/h + 1 and φ₃ = (e^{−h} − 1 + h)/h² − ½; exact would be 2φ₃, so that the order is 2.
    `lower_order_final` takes the last two steps with orders 2 and 1, as the libraries do below 10 or 15 steps.
    """
    return multistep(problem, x, grid, 1.0, lower_order_final)


@solver("dpmpp-3m-corrected", order=3, self_started=2, reference=REFERENCE)
def dpmpp_3m_corrected(problem: Problem, x: Tensor, grid: Tensor, *, lower_order_final: bool = False) -> Iterator[Step]:
    """DPM-Solver++(3M) with the coefficient 2φ₃ of D⁽²⁾ that its Taylor expansion needs; `exp-ab3-x0` but for the start.

    `lower_order_final` takes the last two steps with orders 2 and 1.
    """
    return multistep(problem, x, grid, 2.0, lower_order_final)

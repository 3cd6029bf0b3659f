"""Variable-step Adams–Bashforth methods: Lagrange's polynomial through past predictions, its integral exact.

Along the probability-flow ODE d(x/α) = ε dσ̂ and d(x/σ) = D d(e^λ). A method interpolates ε or D in one variable s and
integrates the polynomial against dσ̂ or d(e^λ): polynomials in σ̂ are linear multistep methods, in λ exponential ones.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.process import Process

from .facts import Method, Step
from .problem import Problem
from .update import combine

Past = tuple[tuple[float, Tensor], ...]  # (t, x (b, *d)), the latest last
Rule = Callable[[Process, Tensor], tuple[np.ndarray, np.ndarray]]
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)  # exact to round-off for e^{−s} times a cubic on steps up to 5


@dataclass(frozen=True)
class Form:
    """x/scale changes by prediction · dμ; the prediction is a polynomial in s, and `rule` a quadrature for dμ on each step.

    `rule` takes a process and a grid (n + 1,) and gives points s (n, q) and masses (n, q).
    """

    scale: Callable[[Process, Tensor], Tensor]
    predict: Callable[[Problem, Tensor, float], Tensor]
    place: Callable[[Process, Tensor], Tensor]
    rule: Rule


def gauss(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss and Legendre's points (n, q) and weights (n, q) on each step of s (n + 1,)."""
    half = 0.5 * np.diff(s)[:, None]
    return half * NODES + 0.5 * (s[1:] + s[:-1])[:, None], half * WEIGHTS


def in_sigma_hat(p: Process, grid: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return gauss(p.sigma_hat(grid).numpy())


def in_lam(p: Process, grid: Tensor) -> tuple[np.ndarray, np.ndarray]:
    lam, mass = gauss(p.lam(grid).numpy())
    return lam, -np.exp(-lam) * mass  # dσ̂ = −e^{−λ} dλ


def in_time(p: Process, grid: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Points are t, but the quadrature is in λ, where t is smooth and the weight is too."""
    lam, mass = in_lam(p, grid)
    return p.t_of_lam(torch.from_numpy(lam)).numpy(), mass


def in_lam_for_data(p: Process, grid: Tensor) -> tuple[np.ndarray, np.ndarray]:
    lam, mass = gauss(p.lam(grid).numpy())
    return lam, np.exp(lam) * mass


EPS_SIGMA_HAT = Form(Process.alpha, Problem.eps, Process.sigma_hat, in_sigma_hat)
EPS_LAM = Form(Process.alpha, Problem.eps, Process.lam, in_lam)
EPS_TIME = Form(Process.alpha, Problem.eps, lambda p, t: t, in_time)
DATA_LAM = Form(lambda p, t: p.sigma(t), lambda problem, x, t: problem.denoise(x, t), Process.lam, in_lam_for_data)


def lagrange(nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """ℓ_j(points) (k, q) of Lagrange's polynomials through the nodes (k,)."""
    k = len(nodes)
    gaps = nodes[:, None] - nodes + np.eye(k)
    factors = (points - nodes[:, None]) / gaps[:, :, None]  # (j, i, q)
    factors[range(k), range(k)] = 1.0
    return np.asarray(factors.prod(axis=1))


def before(problem: Problem, k: int) -> Past:
    """The last k − 1 points of the exact start, or as many as there are."""
    return problem.start[max(0, len(problem.start) - k + 1) :]


def with_past(past: Past, grid: Tensor) -> Tensor:
    """Times of the past points and of the grid, float64."""
    return torch.cat([torch.tensor([t for t, _ in past], dtype=torch.float64), grid])


def adams_bashforth(problem: Problem, x: Tensor, grid: Tensor, k: int, form: Form) -> Iterator[Step]:
    """x' = (scale'/scale) x + scale' Σ_j F_j ∫ ℓ_j dμ, with the last k predictions F_j, or as many as there are."""
    past, t = before(problem, k), grid.tolist()
    kept, weights = coefficients(problem.process, tuple(at for at, _ in past), tuple(t), k, form)
    history = [form.predict(problem, x_before, t_before) for t_before, x_before in past]
    for n in range(len(kept)):
        history = [*history[max(0, len(history) - k + 1) :], form.predict(problem, x, t[n])]
        x = combine((kept[n], x), *zip(weights[n], history, strict=True))
        yield t[n + 1], x


@lru_cache(maxsize=64)
def coefficients(
    p: Process, past: tuple[float, ...], times: tuple[float, ...], k: int, form: Form
) -> tuple[list[float], list[list[float]]]:
    """What multiplies x and the predictions in each step of a grid, after so many past times; the same for every batch."""
    grid = torch.tensor(times, dtype=torch.float64)
    s = form.place(p, torch.tensor(past + times, dtype=torch.float64)).numpy()
    points, mass = form.rule(p, grid)
    scale = form.scale(p, grid)
    moved, weights = scale[1:].tolist(), []
    for n, now in enumerate(range(len(past), len(s) - 1)):
        weights.append((moved[n] * (lagrange(s[max(0, now - k + 1) : now + 1], points[n]) @ mass[n])).tolist())
    return (scale[1:] / scale[:-1]).tolist(), weights


def method(k: int, form: Form, doc: str) -> Method:
    """The generator function of the k-step method of one form."""

    def steps(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
        return adams_bashforth(problem, x, grid, k, form)

    steps.__doc__ = doc
    return steps

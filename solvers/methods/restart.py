"""Restart sampling: Heun's method in σ̂, with jumps back to a higher noise level on the way."""

from collections.abc import Iterator

import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError

from ..facts import Reference, Step, solver
from ..grids import make_grid
from ..problem import Problem
from ..update import combine
from .runge_kutta import HEUN, SIGMA_HAT, runge_kutta


def extra_calls(*, K: float, N_restart: float, **_: float) -> int:
    """What the restarts add to Heun's two calls a step."""
    return int(2 * K * (N_restart - 1))


@solver(
    "restart",
    kind="sde",
    order=None,
    dial=lambda **options: None,
    calls_per_step=2,
    extra_calls_of=extra_calls,
    grid="karras",
    reference=Reference(
        "Xu et al. 2023", "Restart Sampling for Improving Generative Processes", "arXiv:2306.14878", "Alg. 1"
    ),
    aliases=("restart_sampler",),
)
def restart(
    problem: Problem,
    x: Tensor,
    grid: Tensor,
    *,
    K: float = 2.0,
    N_restart: float = 3.0,
    sigma_min: float = 0.06,
    sigma_max: float = 0.3,
) -> Iterator[Step]:
    """Restart: Heun's method in σ̂; at sigma_min, K times, noise on x/α up to sigma_max and Heun back over N_restart points.

    sigma_min means the grid's nearest point below sigma_max, as in the authors' code, and the points in between are ρ = 7;
    the defaults are theirs for EDM's CIFAR-10. The restarts add 2K(N_restart − 1) calls to 2 a step. Noise put in is
    independent from restart to restart: there is no path, and only p_t is kept.
    """
    for name, value, least in (("K", K, 0), ("N_restart", N_restart, 2)):
        if value != int(value) or value < least:
            raise UsageError(f"restart: {name} must be a whole number from {least} on, got {value:g}")
    p = problem.process
    s = p.sigma_hat(grid)
    low = nearest(s, sigma_min, sigma_max)
    t_low, t_high = float(grid[low]), float(p.t_of_sigma_hat(torch.tensor(sigma_max, dtype=torch.float64)))
    again = make_grid("karras", p, int(N_restart) - 1, t_high, t_low)
    alpha = p.alpha(again[[0, -1]])
    a, c = float(alpha[0] / alpha[1]), float(alpha[0] * torch.sqrt(sigma_max**2 - s[low] ** 2))
    *way, (_, x) = runge_kutta(problem, x, grid[: low + 1], HEUN, SIGMA_HAT)
    yield from way
    for k in range(int(K)):
        x = combine((a, x), (c, problem.independent(k)))
        *_, (_, x) = runge_kutta(problem, x, again, HEUN, SIGMA_HAT)
    yield t_low, x
    yield from runge_kutta(problem, x, grid[low:], HEUN, SIGMA_HAT)


def nearest(s: Tensor, sigma_min: float, sigma_max: float) -> int:
    """The index in s (n + 1,), after the first, of the value nearest to sigma_min that is below sigma_max."""
    below = s[1:] < sigma_max
    if not sigma_min < sigma_max or not bool(below.any()):
        raise UsageError(
            f"restart needs sigma_min < sigma_max and a grid that goes below sigma_max, got {sigma_min:g}, {sigma_max:g} "
            f"and a grid down to {float(s[-1]):g}"
        )
    return 1 + int(torch.where(below, (s[1:] - sigma_min).abs(), torch.inf).argmin())

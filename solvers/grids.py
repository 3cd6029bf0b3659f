"""Time grids: n + 1 monotone times from one end to the other, by name. float64, on the host."""

from collections.abc import Callable

import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError, unknown
from scorebench.reference_models.process import Process


def _spaced(first: Tensor, last: Tensor, steps: int) -> Tensor:
    grid = first + (last - first) * torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    grid[-1] = last
    return grid


def time_uniform(process: Process, first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Equal steps in t."""
    return _spaced(first, last, steps)


def time_quadratic(process: Process, first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Equal steps in √t (Song, Meng & Ermon 2021, arXiv:2010.02502, appendix D.2)."""
    return _spaced(torch.sqrt(first), torch.sqrt(last), steps) ** 2


def logsnr(process: Process, first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Equal steps in λ, the half log-SNR (Lu et al. 2022, arXiv:2206.00927, section 3.3)."""
    return process.t_of_lam(_spaced(process.lam(first), process.lam(last), steps))


def karras(process: Process, first: Tensor, last: Tensor, steps: int) -> Tensor:
    """Equal steps in σ̂^(1/7) (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""
    low, high = (process.sigma_hat(t) ** (1 / 7) for t in (first, last))
    return process.t_of_sigma_hat(_spaced(low, high, steps) ** 7)


GRIDS: dict[str, Callable[[Process, Tensor, Tensor, int], Tensor]] = {
    grid.__name__: grid for grid in (time_uniform, time_quadratic, logsnr, karras)
}


def make_grid(name: str, process: Process, steps: int, first: float, last: float) -> Tensor:
    """The grid (steps + 1,) of that name from t = first to t = last, whose ends are exact; UsageError otherwise."""
    if name not in GRIDS:
        raise unknown("grid", name, GRIDS)
    if steps < 1:
        raise UsageError(f"grid {name} needs at least 1 step, got {steps}")
    ends = torch.tensor([first, last], dtype=torch.float64)
    grid = GRIDS[name](process, ends[0], ends[1], steps)
    grid[0], grid[-1] = ends
    return grid

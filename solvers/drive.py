"""The one loop that runs a solver: counts, keeps the path when asked, and says whether the result is finite."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from scorebench.reference_models.model import Model

from .facts import SolverInfo
from .fused import recycled
from .noise import Noise
from .options import check_options
from .problem import Count, Problem


@dataclass(frozen=True)
class Solution:
    """Where the solver ended, x (b, *d), what it spent, and the least and greatest entry of each state, on the device."""

    x: Tensor
    count: Count
    extremes: tuple[Tensor, ...]
    path: tuple[tuple[float | Tensor, Tensor], ...] = ()

    @cached_property
    def finite(self) -> bool:
        """Whether every state on the way was finite: the one value that is read of the device, when it is asked for."""
        return bool(torch.isfinite(torch.stack(self.extremes)).all())


def solve(
    model: Model,
    info: SolverInfo,
    grid: Tensor,
    x: Tensor,
    *,
    options: dict[str, Any] | None = None,
    noise: Noise | None = None,
    start: tuple[tuple[float, Tensor], ...] = (),
    denoise: bool = False,
    keep_path: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Solution:
    """Carry x (b, *d), float32 or float64, along grid (n + 1,) with the solver; its options are checked by name.

    `denoise` ends with one more network call, D(x, grid[-1]), counted like any other. `progress` is told each t.
    """
    options = check_options(info, options or {})
    grid = grid.to("cpu", torch.float64)
    problem = replace(Problem.of(model, len(x), noise), start=start)
    extremes: list[Tensor] = []  # NaN or infinite where an entry is
    path: list[tuple[float | Tensor, Tensor]] = [(float(grid[0]), x)] if keep_path else []
    end = x
    with recycled():
        for t, end in info.method(problem, x, grid, **options):
            extremes += torch.aminmax(end)
            if keep_path:
                path.append((t, end))
            if progress is not None:
                progress(float(torch.as_tensor(t, dtype=torch.float64).min()))
    if denoise:
        end = problem.denoise(end, float(grid[-1]))
        extremes += torch.aminmax(end)
    return Solution(end, problem.count, tuple(extremes), tuple(path))

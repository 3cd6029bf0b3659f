"""DPM-Solver-fast: third-order steps, then one of order 2 and one of order 1, so that a budget is spent whole."""

from collections.abc import Iterator

from torch import Tensor

from scorebench.reference_models.errors import UsageError

from ..facts import Reference, Step, solver
from ..problem import Problem
from .dpm_solver import PAPER, dpm_solver_1, dpm_solver_2, dpm_solver_3


@solver(
    "dpm-solver-fast",
    order=2,
    calls_per_step=3,
    extra_calls=-3,
    least_steps=2,
    claimed=3,
    reference=Reference(*PAPER, "section 3.4 and appendix D.3"),
    aliases=("dpm_fast", "sample_dpm_fast", "DPM fast"),
)
def dpm_solver_fast(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """DPM-Solver-fast: n ≥ 2 steps of orders 3, …, 3, 2, 1, which cost 3n − 3 calls.

    The paper packs a budget of K calls into ⌊K/3⌋ + 1 steps: these orders where 3 divides K, else 3, …, 3 and the
    rest of K at last. Here the steps are given, so it is the first form, and a budget is spent up to the multiple of 3
    below it. The last two steps cap the order at 2.
    """
    if len(grid) < 3:
        raise UsageError(f"dpm-solver-fast ends with steps of orders 2 and 1: it needs 2 steps, got {len(grid) - 1}")
    for method, piece in ((dpm_solver_3, grid[:-2]), (dpm_solver_2, grid[-3:-1]), (dpm_solver_1, grid[-2:])):
        for step in method(problem, x, piece):
            yield step
            x = step[1]

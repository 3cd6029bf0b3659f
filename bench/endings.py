"""How a path may end, beside the method's own way: its last step by Euler, as libraries call it."""

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from scorebench.reference_models.errors import UsageError
from scorebench.solvers.facts import Method, SolverInfo, Step
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import find


def euler_at_final(info: SolverInfo) -> SolverInfo:
    """The method on all steps but the last, which is DDIM's: first order, the same map in ε and in x0.

    diffusers has it under this name; of a two-step method `lower_order_final` is the same. UsageError unless a step costs
    one network call, so that the budget buys as many.
    """
    if info.calls_per_step != 1 or info.extra_calls:
        raise UsageError(f"euler_at_final needs a solver of one network call a step, which {info.id} is not")

    def method(problem: Problem, x: Tensor, grid: Tensor, **options: float | bool | str) -> Iterator[Step]:
        if len(grid) > 2:
            for t, state in info.method(problem, x, grid[:-1], **options):
                x = state
                yield t, x
        yield from first_order(replace(problem, start=()), x, grid[-2:])

    first_order: Method = find("ddim").method
    return replace(info, method=method)

"""Integrators of other libraries on the problem's own equations, in process time.

torchsde:euler      its Euler–Maruyama on the reverse SDE, if that package is installed
scipy:NAME          an adaptive pair of `solve_ivp` on the probability-flow ODE, each sample alone
"""

import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from scorebench.reference_models.errors import UsageError, unknown
from scorebench.solvers.facts import Reference, SolverInfo, Step
from scorebench.solvers.problem import Problem

PAIRS = {"RK23": 3, "RK45": 5, "DOP853": 8}


def torchsde_euler(address: str, name: str) -> SolverInfo:
    """Each step costs a call more, for the shapes. UsageError for another scheme, or where the package is not installed."""
    if name != "euler":
        raise unknown(f"integrator in {address}", name, ["euler"])
    if importlib.util.find_spec("torchsde") is None:
        raise UsageError(f"{address}: torchsde is not installed; `make peers` installs it")
    return SolverInfo(
        address,
        _euler,
        "sde",
        1,
        None,
        2,
        "time_uniform",
        Reference("torchsde", address, ""),
        (),
        {},
        strong=1.0,
        drift=1,
    )


class ReverseSde:
    """The reverse SDE in s = −t, as torchsde wants it."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def f(self, s: Tensor, y: Tensor) -> Tensor:
        p, t = self.problem.process, -s.double()
        drift: Tensor = p.f(t) * y - p.g2(t) * self.problem.score(y, float(t))
        return -drift

    def g(self, s: Tensor, y: Tensor) -> Tensor:
        return torch.sqrt(self.problem.process.g2(-s.double())) * torch.ones_like(y)


def _euler(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    torchsde: Any = importlib.import_module("torchsde")

    class Given(torchsde.BaseBrownian):  # type: ignore[misc]
        """The increment of one step."""

        dtype, device, shape, levy_area_approximation = x.dtype, x.device, x.shape, "none"

        def __init__(self, drawn: Tensor) -> None:
            self.drawn = drawn

        def __call__(self, *_: Any, **__: Any) -> Tensor:
            return self.drawn

        def __repr__(self) -> str:
            return "Given()"

    sde: Any = ReverseSde(problem)
    for start, end in grid.unfold(0, 2, 1).tolist():
        given = Given(problem.increment(start, end) * abs(end - start) ** 0.5)
        span = torch.tensor([-start, -end], dtype=torch.float64)
        x = torchsde.sdeint(sde, x, span, bm=given, method="euler", dt=2 * (start - end))[-1]  # one step
        yield end, x


def scipy_pair(address: str, name: str) -> SolverInfo:
    """An explicit pair with its own error control; UsageError for a name that is not one."""
    if name not in PAIRS:
        raise unknown(f"integrator in {address}", name, PAIRS)

    def method(problem: Problem, x: Tensor, grid: Tensor, *, rtol: float = 1e-3, atol: float = 1e-6) -> Iterator[Step]:
        ends = []
        for row in range(len(x)):
            alone = problem[torch.tensor([row])]

            def slope(t: float, y: np.ndarray, alone: Problem = alone) -> np.ndarray:
                return np.asarray(alone.velocity(torch.from_numpy(y).reshape(1, *x.shape[1:]), t).flatten().numpy())

            span = (float(grid[0]), float(grid[-1]))
            found = solve_ivp(slope, span, x[row].flatten().numpy(), name, rtol=rtol, atol=atol)
            ends.append(torch.from_numpy(found.y[:, -1]).reshape(x.shape[1:]))
        yield float(grid[-1]), torch.stack(ends)

    return SolverInfo(
        address, method, "ode", PAIRS[name], None, None, "time_uniform", Reference("scipy", address, ""), (),
        {"rtol": 1e-3, "atol": 1e-6},
    )  # fmt: skip

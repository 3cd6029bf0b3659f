"""Weak order of stochastic methods without Monte Carlo: steps from exact p_t, quadrature over the state and every noise.

A method of one step takes one step from exact p_t. A multistep method takes two, from exact past points: at noise dial 1
the reverse SDE has the law of the forward process, whose transitions are Gaussian, so that the past is drawn by quadrature
too. Two steps, because only the second sees the joint law that the method itself has made.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.mixture import Mixture
from scorebench.reference_models.process import Process, make_process
from scorebench.solvers.facts import SolverInfo
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Problem

DOUBLE = torch.float64
AT, STEPS = 0.5, (0.001, 0.0005)  # λ changes by up to 0.008 a step: VE is slow to reach its slope
ONE_STEP: dict[str, dict[str, Any]] = {  # options that make an adaptive method take one step, whatever its error
    "gotta-go-fast": {"h_init": 1.0, "rtol": 1e9, "atol": 1e9}
}
DIALS: dict[str, tuple[Any, ...]] = {"tau": (0.5, 1.0), "eta": (0.5, 1.0), "phi": ("er-sde-5", "sde")}  # dial 1 last


@dataclass
class Spy(Noise):
    """Notes between which values of the clock increments are asked for, and which independent draws; answers 0."""

    def __init__(self) -> None:
        super().__init__(0, torch.arange(1), (1,))
        self.clock: set[float] = set()
        self.positions: list[int] = []

    def increment(self, s_from: float, s_to: float) -> Tensor:
        self.clock |= {s_from, s_to}
        return torch.zeros(1, 1, dtype=DOUBLE)

    def increments(self, s_from: Tensor, s_to: Tensor) -> Tensor:
        return self.increment(float(s_from), float(s_to))

    def independent(self, position: int) -> Tensor:
        self.positions.append(position)
        return torch.zeros(1, 1, dtype=DOUBLE)

    def __getitem__(self, rows: Tensor) -> "Spy":
        return self


class PrescribedPath(Noise):
    """One Brownian path a row, given by the normals (m, rows) of the increments between neighbouring values of the clock."""

    def __init__(self, clock: list[float], z: Tensor, independent: dict[int, Tensor]) -> None:
        super().__init__(0, torch.arange(z.shape[-1]), (1,))
        steps = [b - a for a, b in pairwise(clock)]
        moves = torch.stack([math.sqrt(step) * part for step, part in zip(steps, z, strict=True)]) if steps else z[:0]
        self.values: dict[float, Tensor] = (
            dict(zip(clock, torch.cat([0 * z[:1], moves.cumsum(0)]), strict=True)) if clock else {}
        )
        self.draws = independent

    def increment(self, s_from: float, s_to: float) -> Tensor:
        return ((self.values[s_to] - self.values[s_from]) / math.sqrt(abs(s_to - s_from)))[:, None]

    def increments(self, s_from: Tensor, s_to: Tensor) -> Tensor:
        return self.increment(float(s_from[0]), float(s_to[0]))  # of one step, which all rows take

    def independent(self, position: int) -> Tensor:
        draw: Tensor = self.draws[position]
        return draw.unsqueeze(1)

    def __getitem__(self, rows: Tensor) -> "PrescribedPath":
        return self  # likewise


def mixture_on_a_line(name: str) -> Mixture:
    parts = ([0.3, 0.7], [[-0.8], [0.6]], [0.3, 0.2])
    weights, means, deviations = (torch.tensor(part, dtype=DOUBLE) for part in parts)
    return Mixture(make_process(name), weights, means, deviations)


def nodes(model: Mixture, t: float, n: int = 801) -> tuple[Tensor, Tensor]:
    """Points (n, 1) and weights (n,) for expectations under p_t."""
    time = torch.tensor(t, dtype=DOUBLE)
    half = 2.0 + 8 * float(model.process.sigma(time))
    x = torch.linspace(-half, half, n, dtype=DOUBLE)[:, None]
    return x, torch.exp(model.log_prob(x, time)) * (2 * half / (n - 1))  # the trapezoidal rule is spectral here


def moments(x: Tensor, weights: Tensor) -> np.ndarray:
    """E x, …, E x⁴."""
    return np.array([float((weights * x[:, 0] ** k).sum()) for k in range(1, 5)])


def product(x: Tensor, weights: Tensor, dimensions: int, n: int) -> tuple[Tensor, list[Tensor], Tensor]:
    """x (rows, 1), normals (rows,) for each further dimension, and weights (rows,): a tensor product of n Hermite nodes."""
    z, v = (torch.tensor(part, dtype=DOUBLE) for part in np.polynomial.hermite_e.hermegauss(n))
    axes = torch.meshgrid(x[:, 0], *[z] * dimensions, indexing="ij")
    masses = torch.meshgrid(weights, *[v / math.sqrt(2 * math.pi)] * dimensions, indexing="ij")
    mass = torch.stack(masses).prod(0).flatten()
    return axes[0].reshape(-1, 1), [axis.flatten() for axis in axes[1:]], mass


def history_of(info: SolverInfo, options: dict[str, Any]) -> int:
    """How many past points the method uses: the calls that it makes beside those of its step."""
    problem = Problem.of(mixture_on_a_line("vp"), 1, Spy())
    past = tuple((AT + 0.01 * (3 - i), torch.zeros(1, 1, dtype=DOUBLE)) for i in range(3))
    list(info.method(replace(problem, start=past), past[0][1], torch.tensor([AT, AT - 0.01]), **options))
    return problem.count.calls - (info.calls(1) or 0)


def defect(
    info: SolverInfo, name: str, h: float, steps: int = 1, past: int = 0, frozen: bool = False, **options: Any
) -> float:
    """Largest error of E x, …, E x⁴ after so many steps of h from exact p_t and `past` exact points before.

    `frozen` starts from p_t of the end of the steps instead, where a corrector takes its Langevin steps.
    """
    model, times = mixture_on_a_line(name), [AT - n * h for n in range(steps + 1)]
    grid, p, spy = torch.tensor(times, dtype=DOUBLE), model.process, Spy()
    list(info.method(Problem.of(model, 1, spy), torch.zeros(1, 1, dtype=DOUBLE), grid, **options))
    clock, positions = sorted(spy.clock), spy.positions
    dimensions = past + max(0, len(clock) - 1) + len(positions)
    count, n = ((801, 12), (801, 12), (401, 8), (201, 8), (121, 6), (81, 5))[dimensions]
    x, z, weights = product(*nodes(model, times[-1] if frozen else AT, count), dimensions, n)
    start: list[tuple[float, Tensor]] = []
    point = x
    for i in range(past):  # forward in time, away from the data, by the exact transitions
        here, there = (torch.tensor(AT + j * h, dtype=DOUBLE) for j in (i, i + 1))
        a = p.alpha(there) / p.alpha(here)
        point = a * point + torch.sqrt(p.sigma(there) ** 2 - a**2 * p.sigma(here) ** 2) * z[i][:, None]
        start.insert(0, (float(there), point))
    path = torch.stack(z[past : past + max(0, len(clock) - 1)] or [0 * x[:, 0]])
    noise = PrescribedPath(clock, path, dict(zip(positions, z[dimensions - len(positions) :], strict=True)))
    problem = replace(Problem.of(model, len(x), noise), start=tuple(start))
    *_, (_, end) = info.method(problem, x, grid, **options)
    return float(np.abs(moments(end, weights) - moments(*nodes(model, times[-1]))).max())


def slope(info: SolverInfo, name: str, steps: int, past: int, **options: Any) -> float:
    """The exponent of the defect in the step: the weak order and one."""
    coarse, fine = (defect(info, name, h, steps, past, **options) for h in STEPS)
    return math.log2(coarse / fine)


def noise_options(info: SolverInfo) -> list[dict[str, Any]]:
    """Settings of the method's noise, the one with dial 1 last."""
    for option, values in DIALS.items():
        if option in info.options:
            return [{option: value} for value in values]
    return [{}]


def weak_order(info: SolverInfo, process: str, options: dict[str, Any]) -> float:
    """The weak order with these options: of its steps from exact p_t, and from exact past points where it uses them."""
    past = 0 if info.adaptive else history_of(info, options)
    return slope(info, process, 2 if past else info.least_steps, past, **options) - 1


def _restart(p: Process, h: float) -> dict[str, Any]:
    low = float(p.sigma_hat(torch.tensor(AT - h, dtype=DOUBLE)))
    return {"K": 1.0, "N_restart": 2.0, "sigma_min": low, "sigma_max": (1 + 4 * h) * low}


# of methods without an order: the options under which the noise that they put in shrinks with the step, and the order to
# which p_t is then kept
SHRINKING: dict[str, tuple[int, Callable[[Process, float], dict[str, Any]]]] = {
    "edm-heun": (2, lambda p, h: {"S_churn": 4 * h, "S_min": 0.0, "S_max": 1e9}),
    "restart": (2, _restart),
    "pc": (1, lambda p, h: {"corrector": "ald", "snr": h**0.5}),
    "annealed-langevin": (1, lambda p, h: {"snr": h**0.5}),
}


def kept_order(
    info: SolverInfo,
    process: str,
    options: Callable[[Process, float], dict[str, Any]] | None = None,
    steps: tuple[float, float] = STEPS,
) -> float:
    """The order to which a method without an order keeps p_t, as its steps shrink and its noise with them.

    `options` of the process and the step are those of SHRINKING unless given.
    """
    p, frozen = make_process(process), info.id == "annealed-langevin"
    chosen = options or SHRINKING[info.id][1]
    coarse, fine = (defect(info, process, h, 1, 0, frozen, **chosen(p, h)) for h in steps)
    return math.log2(coarse / fine) - 1

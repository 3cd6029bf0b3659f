"""Weak order of stochastic methods without Monte Carlo: steps from exact p_t, quadrature over the state and every noise.

A method of one step takes one step from exact p_t. A multistep method takes two, from exact past points: at noise dial 1
the reverse SDE has the law of the forward process, whose transitions are Gaussian, so that the past is drawn by quadrature
too. Two steps, because only the second sees the joint law that the method itself has made.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scorebench.reference_models.mixture import Mixture
from scorebench.reference_models.process import make_process
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import SOLVERS

DOUBLE = torch.float64
AT, STEPS = 0.5, (0.001, 0.0005)  # λ changes by up to 0.008 a step: VE is slow to reach its slope
PROCESSES = ["vp", "subvp", "ve", "flow"]
DIALS = {"tau": (0.5, 1.0), "eta": (0.5, 1.0), "phi": ("er-sde-5", "sde")}  # options that set the noise; dial 1 last


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

    def independent(self, position: int) -> Tensor:
        self.positions.append(position)
        return torch.zeros(1, 1, dtype=DOUBLE)


class PrescribedPath(Noise):
    """One Brownian path a row, given by the normals (m, rows) of the increments between neighbouring values of the clock."""

    def __init__(self, clock: list[float], z: Tensor, independent: dict[int, Tensor]) -> None:
        super().__init__(0, torch.arange(z.shape[-1]), (1,))
        steps = [b - a for a, b in pairwise(clock)]
        moves = torch.stack([math.sqrt(step) * part for step, part in zip(steps, z, strict=True)]) if steps else z[:0]
        self.values = dict(zip(clock, torch.cat([0 * z[:1], moves.cumsum(0)]), strict=True)) if clock else {}
        self.draws = independent

    def increment(self, s_from: float, s_to: float) -> Tensor:
        return ((self.values[s_to] - self.values[s_from]) / math.sqrt(abs(s_to - s_from)))[:, None]

    def independent(self, position: int) -> Tensor:
        return self.draws[position][:, None]


def mixture_on_a_line(name: str) -> Mixture:
    parts = ([0.3, 0.7], [[-0.8], [0.6]], [0.3, 0.2])
    return Mixture(make_process(name), *(torch.tensor(part, dtype=DOUBLE) for part in parts))


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
    return axes[0].reshape(-1, 1), [axis.flatten() for axis in axes[1:]], math.prod(masses).flatten()  # type: ignore[arg-type]


def history_of(id: str, options: dict[str, Any]) -> int:
    """How many past points the method uses: the calls that it makes beside those of its step."""
    problem = Problem.of(mixture_on_a_line("vp"), 1, Spy())
    past = tuple((AT + 0.01 * (3 - i), torch.zeros(1, 1, dtype=DOUBLE)) for i in range(3))
    list(SOLVERS[id].method(replace(problem, start=past), past[0][1], torch.tensor([AT, AT - 0.01]), **options))
    return problem.count.calls - (SOLVERS[id].calls(1) or 0)


def defect(id: str, name: str, h: float, steps: int = 1, past: int = 0, **options: Any) -> float:
    """Largest error of E x, …, E x⁴ after so many steps of h from exact p_t and `past` exact points before."""
    model, times = mixture_on_a_line(name), [AT - n * h for n in range(steps + 1)]
    grid, p, spy = torch.tensor(times, dtype=DOUBLE), model.process, Spy()
    list(SOLVERS[id].method(Problem.of(model, 1, spy), torch.zeros(1, 1, dtype=DOUBLE), grid, **options))
    clock, positions = sorted(spy.clock), spy.positions
    dimensions = past + max(0, len(clock) - 1) + len(positions)
    count, n = ((801, 12), (801, 12), (401, 8), (201, 8), (121, 6), (81, 5))[dimensions]
    x, z, weights = product(*nodes(model, AT, count), dimensions, n)
    start, point = [], x
    for i in range(past):  # forward in time, away from the data, by the exact transitions
        here, there = (torch.tensor(AT + j * h, dtype=DOUBLE) for j in (i, i + 1))
        a = p.alpha(there) / p.alpha(here)
        point = a * point + torch.sqrt(p.sigma(there) ** 2 - a**2 * p.sigma(here) ** 2) * z[i][:, None]
        start.insert(0, (float(there), point))
    path = torch.stack(z[past : past + max(0, len(clock) - 1)] or [0 * x[:, 0]])
    noise = PrescribedPath(clock, path, dict(zip(positions, z[dimensions - len(positions) :], strict=True)))
    problem = replace(Problem.of(model, len(x), noise), start=tuple(start))
    *_, (_, end) = SOLVERS[id].method(problem, x, grid, **options)
    return float(np.abs(moments(end, weights) - moments(*nodes(model, times[-1]))).max())


def slope(id: str, name: str, steps: int, past: int, **options: Any) -> float:
    coarse, fine = (defect(id, name, h, steps, past, **options) for h in STEPS)
    return math.log2(coarse / fine)


def noise_options(id: str) -> list[dict[str, Any]]:
    """Settings of the method's noise, the one with dial 1 last."""
    for option, values in DIALS.items():
        if option in SOLVERS[id].options:
            return [{option: value} for value in values]
    return [{}]


WITH_ORDER = sorted(
    info.id for info in SOLVERS.values() if info.order and (info.kind == "sde" or "eta" in info.options)
)
FIXED = [id for id in WITH_ORDER if not SOLVERS[id].adaptive]
SINGLE = [(id, options) for id in FIXED for options in noise_options(id) if not history_of(id, options)]
MULTI = [id for id in FIXED if history_of(id, noise_options(id)[-1])]


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize(("id", "options"), SINGLE)
def test_defect_of_one_step_has_slope_order_plus_one(id: str, options: dict[str, Any], name: str) -> None:
    """Noise scale, drift and dial all enter: a wrong factor in any leaves slope 1."""
    order, steps = SOLVERS[id].order, SOLVERS[id].least_steps
    assert order is not None
    assert slope(id, name, steps, 0, **options) == pytest.approx(order + 1, abs=0.2)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("id", MULTI)
def test_defect_of_two_steps_from_exact_past_points(id: str, name: str) -> None:
    order, options = SOLVERS[id].order, noise_options(id)[-1]
    assert order is not None
    assert slope(id, name, 2, history_of(id, options), **options) == pytest.approx(order + 1, abs=0.2)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("id", MULTI)
def test_a_cold_start_is_consistent_with_every_noise(id: str, name: str) -> None:
    """The first step has weak order 1, whatever the dial."""
    for options in noise_options(id):
        assert slope(id, name, 1, 0, **options) == pytest.approx(2, abs=0.2)


def global_error(id: str, name: str, steps: int, **options: Any) -> float:
    """Error of the variance at t = 0.2 from t = 0.8 on a Gaussian, from a cold start, exact by superposition.

    There D is linear in x, so that x at the end is too in x at the start and in each normal: one row for each.
    """
    parts = ([1.0], [[0.0]], [0.4])
    model = Mixture(make_process(name), *(torch.tensor(part, dtype=DOUBLE) for part in parts))
    p, spy = model.process, Spy()
    ends = torch.tensor([0.8, 0.2], dtype=DOUBLE)
    grid = p.t_of_lam(torch.linspace(*p.lam(ends).tolist(), steps + 1, dtype=DOUBLE))
    variance = p.alpha(grid) ** 2 * 0.4**2 + p.sigma(grid) ** 2
    list(SOLVERS[id].method(Problem.of(model, 1, spy), torch.zeros(1, 1, dtype=DOUBLE), grid, **options))
    units = torch.eye(len(spy.clock), dtype=DOUBLE)
    noise = PrescribedPath(sorted(spy.clock), units[1:], {})
    *_, (_, end) = SOLVERS[id].method(
        Problem.of(model, len(units), noise), variance[0].sqrt() * units[0, :, None], grid, **options
    )
    return float(((end**2).sum() - variance[-1]).abs())


@pytest.mark.parametrize("name", ["vp", "ve"])
@pytest.mark.parametrize("id", MULTI)
def test_errors_of_multistep_methods_add_up_to_their_order(id: str, name: str) -> None:
    """Over a whole interval and self-started, for every dial: what a few steps cannot show."""
    for options in noise_options(id):
        coarse, fine = (global_error(id, name, n, **options) for n in (256, 512))
        # where the drift is of order 3 its error still shows beside the noise's of order 2
        assert SOLVERS[id].self_started - 0.2 < math.log2(coarse / fine) < SOLVERS[id].self_started + 0.6  # type: ignore[operator]


def test_a_wrong_noise_scale_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = PrescribedPath.increment
    monkeypatch.setattr(PrescribedPath, "increment", lambda self, a, b: 1.1 * right(self, a, b))
    assert slope("euler-maruyama", "vp", 1, 0, eta=1.0) < 1.3


def test_a_stage_with_the_wrong_path_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """DPM++ SDE whose stages see mirrored paths keeps the scale of every noise, and loses its second order."""
    right, calls = PrescribedPath.increment, []

    def increment(self: PrescribedPath, s_from: float, s_to: float) -> Tensor:
        calls.append(s_to)
        return -right(self, s_from, s_to) if len(calls) % 2 else right(self, s_from, s_to)

    assert slope("dpmpp-sde", "vp", 1, 0) == pytest.approx(3, abs=0.2)
    monkeypatch.setattr(PrescribedPath, "increment", increment)
    assert slope("dpmpp-sde", "vp", 1, 0) < 2.2

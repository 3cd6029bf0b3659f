"""Weak order of stochastic methods without Monte Carlo: steps from exact p_t, quadrature over the state and every noise.

A method of one step takes one step from exact p_t. A multistep method takes two, from exact past points: at noise dial 1
the reverse SDE has the law of the forward process, whose transitions are Gaussian, so that the past is drawn by quadrature
too. Two steps, because only the second sees the joint law that the method itself has made.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from scorebench.bench.certificates.weak import DOUBLE, PrescribedPath, Spy, history_of, noise_options, slope
from scorebench.reference_models.mixture import Mixture
from scorebench.reference_models.process import make_process
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import SOLVERS, find

PROCESSES = ["vp", "flow"]  # the certificates look at all
WITH_ORDER = sorted(
    info.id for info in SOLVERS.values() if info.order and (info.kind == "sde" or "eta" in info.options)
)
FIXED = [id for id in WITH_ORDER if not SOLVERS[id].adaptive]
SINGLE = [(id, options) for id in FIXED for options in noise_options(find(id)) if not history_of(find(id), options)]
MULTI = [id for id in FIXED if history_of(find(id), noise_options(find(id))[-1])]


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize(("id", "options"), SINGLE)
def test_defect_of_one_step_has_slope_order_plus_one(id: str, options: dict[str, Any], name: str) -> None:
    """Noise scale, drift and dial all enter: a wrong factor in any leaves slope 1."""
    order, steps = SOLVERS[id].order, SOLVERS[id].least_steps
    assert order is not None
    assert slope(find(id), name, steps, 0, **options) == pytest.approx(order + 1, abs=0.2)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("id", MULTI)
def test_defect_of_two_steps_from_exact_past_points(id: str, name: str) -> None:
    order, options = SOLVERS[id].order, noise_options(find(id))[-1]
    assert order is not None
    assert slope(find(id), name, 2, history_of(find(id), options), **options) == pytest.approx(order + 1, abs=0.2)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("id", MULTI)
def test_a_cold_start_is_consistent_with_every_noise(id: str, name: str) -> None:
    """The first step has weak order 1, whatever the dial."""
    for options in noise_options(find(id)):
        assert slope(find(id), name, 1, 0, **options) == pytest.approx(2, abs=0.2)


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
    for options in noise_options(find(id)):
        coarse, fine = (global_error(id, name, n, **options) for n in (256, 512))
        # where the drift is of order 3 its error still shows beside the noise's of order 2
        assert SOLVERS[id].self_started - 0.2 < math.log2(coarse / fine) < SOLVERS[id].self_started + 0.6  # type: ignore[operator]


def test_a_wrong_noise_scale_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = PrescribedPath.increment
    monkeypatch.setattr(PrescribedPath, "increment", lambda self, a, b: 1.1 * right(self, a, b))
    assert slope(find("euler-maruyama"), "vp", 1, 0, eta=1.0) < 1.3


def test_a_stage_with_the_wrong_path_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """DPM++ SDE whose stages see mirrored paths keeps the scale of every noise, and loses its second order."""
    right, calls = PrescribedPath.increment, []

    def increment(self: PrescribedPath, s_from: float, s_to: float) -> Tensor:
        calls.append(s_to)
        return -right(self, s_from, s_to) if len(calls) % 2 else right(self, s_from, s_to)

    assert slope(find("dpmpp-sde"), "vp", 1, 0) == pytest.approx(3, abs=0.2)
    monkeypatch.setattr(PrescribedPath, "increment", increment)
    assert slope(find("dpmpp-sde"), "vp", 1, 0) < 2.2

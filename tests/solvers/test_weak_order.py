"""Weak order of stochastic methods without Monte Carlo: one step from exact p_t, quadrature over state and noise."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from scorebench.reference_models.mixture import Mixture
from scorebench.reference_models.process import make_process
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Count, Problem

DOUBLE = torch.float64
CASES = [(info.id, eta) for info in SOLVERS.values() for eta in (0.5, 1.0) if info.order and "eta" in info.options] + [
    (info.id, None) for info in SOLVERS.values() if info.kind == "sde" and info.order and "eta" not in info.options
]


class PrescribedNoise(Noise):
    """A standard normal increment that is given: one value per row."""

    def __init__(self, z: Tensor) -> None:
        super().__init__(0, torch.arange(len(z)), (1,))
        self.z = z

    def increment(self, s_from: float, s_to: float) -> Tensor:
        return self.z


def mixture_on_a_line(name: str) -> Mixture:
    parts = ([0.3, 0.7], [[-0.8], [0.6]], [0.3, 0.2])
    return Mixture(make_process(name), *(torch.tensor(part, dtype=DOUBLE) for part in parts))


def moments(model: Mixture, t: float) -> np.ndarray:
    """E x, …, E x⁴ under p_t, by quadrature on a line that holds all of it."""
    x, w = nodes(model, t)
    return np.array([float((w * x[:, 0] ** k).sum()) for k in range(1, 5)])


def nodes(model: Mixture, t: float, n: int = 801) -> tuple[Tensor, Tensor]:
    time = torch.tensor(t, dtype=DOUBLE)
    half = 2.0 + 8 * float(model.process.sigma(time))
    x = torch.linspace(-half, half, n, dtype=DOUBLE)[:, None]
    return x, torch.exp(model.log_prob(x, time)) * (2 * half / (n - 1))  # the trapezoidal rule is spectral here


def one_step_defect(id: str, eta: float | None, name: str, t: float, h: float) -> float:
    model = mixture_on_a_line(name)
    x, w = nodes(model, t)
    z, v = np.polynomial.hermite_e.hermegauss(12)
    v = v / math.sqrt(2 * math.pi)
    rows = x.repeat(len(z), 1)
    noise = PrescribedNoise(torch.tensor(z).repeat_interleave(len(x))[:, None])
    weights = (torch.tensor(v)[:, None] * w).flatten()
    problem = Problem(model, Count(torch.zeros(len(rows), dtype=torch.int64)), noise)
    options = {} if eta is None else {"eta": eta}
    *_, (_, end) = SOLVERS[id].method(problem, rows, torch.tensor([t, t - h], dtype=DOUBLE), **options)
    found = np.array([float((weights * end[:, 0] ** k).sum()) for k in range(1, 5)])
    return float(np.abs(found - moments(model, t - h)).max())


@pytest.mark.parametrize("name", ["vp", "subvp", "ve", "flow"])
@pytest.mark.parametrize(("id", "eta"), CASES)
def test_defect_of_one_step_has_slope_order_plus_one(id: str, eta: float | None, name: str) -> None:
    """Noise scale, drift and dial all enter: a wrong factor in any leaves slope 1."""
    coarse, fine = (one_step_defect(id, eta, name, 0.5, h) for h in (0.01, 0.005))
    order = SOLVERS[id].order
    assert order is not None
    assert math.log2(coarse / fine) == pytest.approx(order + 1, abs=0.2)


def test_a_wrong_noise_scale_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrescribedNoise, "increment", lambda self, a, b: 1.1 * self.z)
    coarse, fine = (one_step_defect("euler-maruyama", 1.0, "vp", 0.5, h) for h in (0.01, 0.005))
    assert math.log2(coarse / fine) < 1.3

"""Every parameterisation against the closed-form Gaussian, and the numbers of the course material."""

import math
from typing import get_args

import pytest
import torch

from scorebench.reference_models.gaussian import Gaussian
from scorebench.reference_models.parameterisation import Prediction, from_x0, to_x0
from scorebench.reference_models.process import make_process

DOUBLE = torch.float64


@pytest.mark.parametrize("kind", get_args(Prediction))
def test_prediction_of_a_gaussian(kind: Prediction, process_name: str) -> None:
    """For data N(m, s²) each prediction is a conditional expectation written out here from the joint Gaussian."""
    p, m, s2 = make_process(process_name), 0.3, 0.5**2
    t = torch.tensor(0.4 * p.t_max, dtype=DOUBLE)
    a, s = float(p.alpha(t)), float(p.sigma(t))
    x = torch.linspace(-2, 2, 9, dtype=DOUBLE)[:, None]
    total = a**2 * s2 + s**2  # Var x_t; Cov(x_0, x_t) = a s2, Cov(ε, x_t) = s
    x0 = m + a * s2 / total * (x - a * m)
    eps = s / total * (x - a * m)
    r = math.hypot(a, s)
    score = -(x - a * m) / total
    others = {"v": (a * eps - s * x0) / r, "score": score, "scaled_score": s * score, "flow": eps - x0}
    expected = {"x0": x0, "epsilon": eps, **others}[kind]
    alpha, sigma = torch.tensor(a, dtype=DOUBLE), torch.tensor(s, dtype=DOUBLE)
    # relative error grows like 1/α where the prediction barely sees x₀, and is compared in units of the coefficients
    torch.testing.assert_close(to_x0(kind, expected, x, alpha, sigma), x0, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(from_x0(kind, x0, x, alpha, sigma), expected, rtol=1e-9, atol=1e-11)
    model = Gaussian(p, torch.tensor([m], dtype=DOUBLE), torch.tensor([s2], dtype=DOUBLE), torch.eye(1, dtype=DOUBLE))
    torch.testing.assert_close(model.denoise(x, t), x0, rtol=1e-12, atol=1e-14)


def test_numbers_of_the_course() -> None:
    """Drift −½x with g = 1: β = 1, x = 1.2, ε = 0.8, t = ½, backward step 0.05; the course rounds its intermediates."""
    p = make_process("vp", beta_min=1.0, beta_max=1.0)
    t = torch.tensor(0.5, dtype=DOUBLE)
    alpha, sigma, x, eps = p.alpha(t), p.sigma(t), 1.2, 0.8
    score = -eps / sigma
    slope = p.f(t) * x - 0.5 * p.g2(t) * score
    assert float(alpha) == pytest.approx(0.7788, abs=1e-4)
    assert float(sigma) == pytest.approx(0.6273, abs=1e-4)
    assert float(score) == pytest.approx(-1.2754, abs=1e-4)
    assert float(slope) == pytest.approx(0.0377, abs=1e-4)
    assert float(x - 0.05 * slope) == pytest.approx(1.1981, abs=1e-4)


@pytest.mark.parametrize(("t", "score"), [(0.25, -1.28), (0.5, -0.96), (0.75, -0.83)])
def test_scores_of_the_course(t: float, score: float) -> None:
    """ε = 0.6 at three times of the same process."""
    p = make_process("vp", beta_min=1.0, beta_max=1.0)
    assert float(-0.6 / p.sigma(torch.tensor(t, dtype=DOUBLE))) == pytest.approx(score, abs=0.005)

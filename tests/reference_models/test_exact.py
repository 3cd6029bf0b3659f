"""Exact models: score by autograd, trace by the Jacobian, Stein's identities, the flow map against its own ODE."""

import pytest
import torch
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import ExactModel, model_digest

DOUBLE = torch.float64


@pytest.fixture(params=["gaussian", "gmm"])
def model(request: pytest.FixtureRequest, process_name: str) -> ExactModel:
    return load_model(f"exact:{request.param}?process={process_name}")  # type: ignore[return-value]


def draws(model: ExactModel, n: int, t: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x0 = model.samples(n, generator)
    return model.process.alpha(t) * x0 + model.process.sigma(t) * torch.randn(
        x0.shape, generator=generator, dtype=DOUBLE
    )


def middle(model: ExactModel) -> Tensor:
    return model.process.t_of_lam(torch.tensor(0.3, dtype=DOUBLE))


def test_score_is_the_gradient_of_the_log_density(model: ExactModel) -> None:
    t = middle(model)
    x = draws(model, 20, t).requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_prob(x, t).sum(), x)
    p = model.process
    score = (p.alpha(t) * model.denoise(x, t) - x) / p.sigma(t) ** 2
    torch.testing.assert_close(score, gradient, rtol=1e-10, atol=1e-11)


def test_trace_is_that_of_the_jacobian(model: ExactModel) -> None:
    t = middle(model)
    x = draws(model, 5, t)
    for row, trace in zip(x, model.denoise_trace(x, t), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda y: model.denoise(y[None], t)[0], row)
        torch.testing.assert_close(jacobian.trace(), trace, rtol=1e-10, atol=1e-12)


def test_stein_identities_on_exact_samples(model: ExactModel) -> None:
    """E[s] = 0 and E[x·s] = −d, each within five standard errors."""
    t, p = middle(model), model.process
    x = draws(model, 20_000, t)
    score = (p.alpha(t) * model.denoise(x, t) - x) / p.sigma(t) ** 2
    for values, mean in ((score, 0.0), ((x * score).sum(1, keepdim=True), -float(x.shape[1]))):
        error = values.std(0) / len(x) ** 0.5
        assert bool(((values.mean(0) - mean).abs() < 5 * error).all())


def test_times_per_sample_equal_one_time(model: ExactModel) -> None:
    t = middle(model)
    x = draws(model, 4, t)
    torch.testing.assert_close(model.denoise(x, t.expand(4)), model.denoise(x, t), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(model.denoise_trace(x, t.expand(4)), model.denoise_trace(x, t), rtol=1e-12, atol=1e-14)
    assert model.denoise(x.float(), t).dtype == torch.float32


def test_density_integrates_to_one() -> None:
    model = load_model("exact:gmm")
    assert isinstance(model, ExactModel)
    axis = torch.linspace(-4, 4, 401, dtype=DOUBLE)
    grid = torch.cartesian_prod(axis, axis)
    mass = torch.exp(model.log_prob(grid, middle(model))).sum() * (8 / 400) ** 2
    assert float(mass) == pytest.approx(1, abs=1e-6)


def test_digest_sees_the_process_and_not_the_address() -> None:
    assert model_digest(load_model("exact:gmm")) == model_digest(load_model("exact:gmm?process=vp"))
    assert model_digest(load_model("exact:gmm")) != model_digest(load_model("exact:gmm?process=ve"))

"""Exact models: score by autograd, trace by the Jacobian, Stein's identities, the flow map against its own ODE."""

import pytest
import torch
from torch import Tensor

from scorebench.reference_models import mixture
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.mixture import Mixture
from scorebench.reference_models.model import ExactModel, model_digest
from scorebench.reference_models.ppca import orthonormal
from scorebench.reference_models.process import Process, make_process

DOUBLE = torch.float64


def low_rank(process: Process) -> Mixture:
    """Three components of rank two in six dimensions: what the mixture on images is, small enough for Jacobians."""
    g = torch.Generator().manual_seed(5)
    means, axes = torch.randn(3, 6, generator=g, dtype=DOUBLE), torch.randn(3, 6, 2, generator=g, dtype=DOUBLE)
    parts = ([0.2, 0.5, 0.3], [0.3, 0.2, 0.4], [[1.0, 0.3], [0.5, 0.2], [0.8, 0.1]])
    weights, deviations, extra = (torch.tensor(part, dtype=DOUBLE) for part in parts)
    return Mixture(process, weights, 0.7 * means, deviations, extra, orthonormal(axes))


@pytest.fixture(params=["gaussian", "gmm", "low-rank"])
def model(request: pytest.FixtureRequest, process_name: str) -> ExactModel:
    if request.param == "low-rank":
        return low_rank(make_process(process_name))
    return load_model(f"exact:{request.param}?process={process_name}")  # type: ignore[return-value]


def draws(model: ExactModel, n: int, t: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x0 = model.samples(n, generator)
    return model.process.alpha(t) * x0 + model.process.sigma(t) * torch.randn(
        x0.shape, generator=generator, dtype=DOUBLE
    )


def middle(model: ExactModel) -> Tensor:
    return model.process.t_of_lam(torch.tensor(0.3, dtype=DOUBLE))


def levels(model: ExactModel) -> list[Tensor]:
    """Times at five noise levels, even in λ over what the process covers, up to σ/α = e⁻⁴."""
    p = model.process
    ends = [float(p.lam(torch.tensor(t, dtype=DOUBLE))) for t in (p.t_max, p.t_min)]
    return [p.t_of_lam(lam) for lam in torch.linspace(ends[0], min(ends[1], 4.0), 5, dtype=DOUBLE)]


def test_score_is_the_gradient_of_the_log_density(model: ExactModel) -> None:
    p = model.process
    for t in levels(model):
        x = draws(model, 20, t).requires_grad_()
        (gradient,) = torch.autograd.grad(model.log_prob(x, t).sum(), x)
        score = (p.alpha(t) * model.denoise(x, t) - x) / p.sigma(t) ** 2
        assert float(((score - gradient).norm() / gradient.norm()).detach()) < 1e-10


def test_moments_are_those_of_exact_draws(model: ExactModel) -> None:
    """Of 20,000 draws, each mean and second moment within five standard errors."""
    t = middle(model)
    mean, covariance = model.moments(t)  # type: ignore[attr-defined]
    x = draws(model, 20_000, t)
    products = (x[:, :, None] - mean[:, None]) * (x[:, None, :] - mean)
    for found, expected in ((x, mean), (products, covariance)):
        error = found.std(0) / len(x) ** 0.5
        assert float(((found.mean(0) - expected).abs() / error).max()) < 5


@pytest.mark.parametrize("name", ["ppca-fashion", "gaussian-fashion", "empirical-digits"])
def test_score_at_image_scale(name: str, process_name: str) -> None:
    """On a grid of noise levels, relative to the score's own size: ≤ 1e-10 in float64."""
    model = load_model(f"exact:{name}?process={process_name}")
    assert isinstance(model, ExactModel)
    p = model.process
    for t in levels(model):
        x = draws(model, 4, t).requires_grad_()
        (gradient,) = torch.autograd.grad(model.log_prob(x, t).sum(), x)
        score = (p.alpha(t) * model.denoise(x, t) - x) / p.sigma(t) ** 2
        assert float(((score - gradient).norm() / gradient.norm()).detach()) < 1e-10


def test_images_of_the_exact_models_have_their_shape() -> None:
    for name, shape in (
        ("ppca-fashion", (1, 28, 28)),
        ("gaussian-fashion", (1, 28, 28)),
        ("empirical-digits", (1, 8, 8)),
    ):
        model = load_model(f"exact:{name}")
        assert isinstance(model, ExactModel) and model.shape == shape
        x = model.samples(3, torch.Generator().manual_seed(0))
        assert x.shape == (3, *shape) and float(x.abs().max()) < 3  # Gaussian tails leave [−1, 1)
        t = middle(model)
        single, double = model.denoise(x.float(), t), model.denoise(x, t)
        assert float((single - double).abs().max()) < 1e-4


def test_the_memorising_optimum_returns_training_digits() -> None:
    """Almost without noise, D is the training digit that x came from."""
    model = load_model("exact:empirical-digits")
    assert isinstance(model, ExactModel)
    x = model.samples(20, torch.Generator().manual_seed(1))
    t = torch.tensor(1e-3, dtype=DOUBLE)
    noisy = model.process.alpha(t) * x + model.process.sigma(t) * torch.randn(
        x.shape, generator=torch.Generator().manual_seed(2)
    )
    torch.testing.assert_close(model.denoise(noisy, t), x, rtol=0, atol=1e-9)


def test_trace_is_that_of_the_jacobian(model: ExactModel) -> None:
    for t in levels(model):
        x = draws(model, 5, t)
        for row, trace in zip(x, model.denoise_trace(x, t), strict=True):
            jacobian = torch.func.jacrev(lambda y, t=t: model.denoise(y[None], t)[0])(row)
            torch.testing.assert_close(jacobian.trace(), trace, rtol=1e-10, atol=1e-12)


def test_stein_identities_on_exact_samples(model: ExactModel) -> None:
    """E[s] = 0 and E[x·s] = −d, each within five standard errors."""
    t, p = middle(model), model.process
    x = draws(model, 20_000, t)
    score = (p.alpha(t) * model.denoise(x, t) - x) / p.sigma(t) ** 2
    for values, mean in ((score, 0.0), ((x * score).sum(1, keepdim=True), -float(x.shape[1]))):
        error = values.std(0) / len(x) ** 0.5
        assert bool(((values.mean(0) - mean).abs() < 5 * error).all())


@pytest.mark.parametrize("name", ["ppca-fashion", "gaussian-fashion", "empirical-digits"])
def test_stein_identities_at_image_scale(name: str, process_name: str) -> None:
    """E[v·s] = 0 along ten directions v and E[x·s] = −d, each within five standard errors."""
    model = load_model(f"exact:{name}?process={process_name}")
    assert isinstance(model, ExactModel)
    t, p = middle(model), model.process
    x = draws(model, 1000, t)
    score = ((p.alpha(t) * model.denoise(x, t) - x) / p.sigma(t) ** 2).flatten(1)
    directions = torch.randn(score.shape[1], 10, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    for values, mean in ((score @ directions, 0.0), ((x.flatten(1) * score).sum(1, keepdim=True), -score.shape[1])):
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


@pytest.mark.parametrize("times", ["one", "each its own"])
def test_a_large_batch_is_denoised_in_parts(times: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows, sizes, inside = load_model("exact:gmm"), 4, list[int](), Mixture._components
    n = 2 * rows + 3
    monkeypatch.setattr(mixture, "LEAST", 1)
    monkeypatch.setattr(mixture, "ENTRIES", 5 * rows)  # of five components without axes
    monkeypatch.setattr(Mixture, "_components", lambda self, x, t: sizes.append(len(x)) or inside(self, x, t))
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor(0.3, dtype=torch.float64) if times == "one" else torch.linspace(0.1, 0.9, n, dtype=torch.float64)
    alone = torch.cat([model.denoise(x[[row]], t if times == "one" else t[[row]]) for row in (0, rows, n - 1)])
    sizes.clear()
    torch.testing.assert_close(model.denoise(x, t)[[0, rows, n - 1]], alone, rtol=1e-12, atol=1e-12)
    assert sizes == [rows, rows, 3]

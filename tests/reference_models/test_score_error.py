"""The controlled score error: of the size that was asked for, smooth, seeded, with its trace."""

import pytest
import torch

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import ExactModel, model_digest

DOUBLE = torch.float64


def eps(model: ExactModel, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    p = model.process
    return (x - p.alpha(t) * model.denoise(x, t)) / p.sigma(t)


@pytest.mark.parametrize("kind", ["score_error", "score_bias"])
@pytest.mark.parametrize("name", ["gmm", "gaussian"])
def test_relative_size_is_what_was_asked_for_at_every_t(name: str, kind: str, process_name: str) -> None:
    """Over exact draws of p_t, within the sampling error of 512 draws against 2,000 others."""
    model, wrong = (load_model(f"exact:{name}?process={process_name}{more}") for more in ("", f"&{kind}=0.1"))
    assert isinstance(model, ExactModel) and isinstance(wrong, ExactModel)
    p, generator = model.process, torch.Generator().manual_seed(3)
    x0 = model.samples(2000, generator)
    noise = torch.randn(x0.shape, generator=generator, dtype=DOUBLE)
    for lam in torch.linspace(float(p.lam(torch.tensor(p.t_max).double())), 3.0, 7, dtype=DOUBLE):
        t = p.t_of_lam(lam)
        x = p.alpha(t) * x0 + p.sigma(t) * noise
        right, bad = eps(model, x, t), eps(wrong, x, t)
        size = float((bad - right).pow(2).mean().sqrt() / right.pow(2).mean().sqrt())
        assert size == pytest.approx(0.1, rel=0.1)


def test_trace_is_that_of_the_wrong_denoiser(process_name: str) -> None:
    model = load_model(f"exact:gmm?process={process_name}&score_error=0.3&score_bias=0.2")
    assert isinstance(model, ExactModel)
    t = model.process.t_of_lam(torch.tensor(0.4, dtype=DOUBLE))
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    for row, trace in zip(x, model.denoise_trace(x, t), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda y: model.denoise(y[None], t)[0], row)
        torch.testing.assert_close(jacobian.trace(), trace, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(model.denoise(x, t.expand(4)), model.denoise(x, t), rtol=1e-12, atol=1e-13)


def test_the_truth_stays_and_the_digest_changes() -> None:
    names = ["exact:gmm", "exact:gmm?score_error=0.1", "exact:gmm?score_error=0.2", "exact:gmm?score_bias=0.1"]
    models = [load_model(name) for name in names]
    assert len({model_digest(model) for model in models}) == 4
    x, t = torch.zeros(3, 2, dtype=DOUBLE), torch.tensor(0.5, dtype=DOUBLE)
    for model in models[1:]:
        assert isinstance(model, ExactModel)
        torch.testing.assert_close(model.log_prob(x, t), models[0].log_prob(x, t))  # type: ignore[attr-defined]
    again = load_model("exact:gmm?score_error=0.1")
    assert torch.equal(again.denoise(x, t), models[1].denoise(x, t))
    assert model_digest(again) == model_digest(models[1])


def test_a_digest_needs_no_sizes_and_does_not_change_with_them() -> None:
    """At image scale they take seconds, and a suite is planned by digests."""
    model = load_model("exact:gaussian?score_error=0.1")
    before = model_digest(model)
    assert "sizes" not in vars(model)
    with torch.inference_mode():  # as the time pass works, whose tensors no gradient may meet
        model.denoise(torch.zeros(3, *model.shape), torch.tensor(0.5, dtype=DOUBLE))
    assert not vars(model)["sizes"].eps.is_inference() and model_digest(model) == before

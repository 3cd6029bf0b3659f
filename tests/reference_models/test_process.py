"""Processes against autograd, their inverse and the figures of the literature."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.process import PROCESSES, VE, VP, Flow, make_process


def times(name: str, n: int = 41) -> Tensor:
    p = make_process(name)
    return torch.linspace(p.t_min_likelihood, p.t_max, n, dtype=torch.float64)


def test_drift_and_diffusion_are_derivatives_of_the_marginal(process_name: str) -> None:
    p, t = make_process(process_name), times(process_name).requires_grad_()
    log_alpha, variance = p.log_alpha(t), p.sigma(t) ** 2
    f = (
        torch.autograd.grad(log_alpha.sum(), t, allow_unused=True)[0]
        if log_alpha.requires_grad
        else torch.zeros_like(t)
    )
    (slope,) = torch.autograd.grad(variance.sum(), t)
    torch.testing.assert_close(p.f(t), f, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(p.g2(t), slope - 2 * p.f(t) * variance, rtol=1e-9, atol=1e-12)


def test_lambda_decreases_and_its_inverse_is_exact(process_name: str) -> None:
    p, t = make_process(process_name), times(process_name, 1001)
    lam = p.lam(t)
    assert bool((torch.diff(lam) < 0).all())
    # λ of VE near t = 0 moves by 1e-5 for t of 1e-5, so round-off of λ is 1e-11 of t there
    torch.testing.assert_close(p.t_of_lam(lam), t, rtol=1e-10, atol=1e-14)


@given(name=st.sampled_from(sorted(PROCESSES)), share=st.floats(0.0, 1.0))
def test_inverse_at_any_time(name: str, share: float) -> None:
    p = make_process(name)
    t = torch.tensor(p.t_min + share * (p.t_max - p.t_min), dtype=torch.float64)
    torch.testing.assert_close(p.t_of_sigma_hat(p.sigma_hat(t)), t, rtol=1e-9, atol=1e-13)


def test_published_end_points() -> None:
    one, small = (torch.tensor(t, dtype=torch.float64) for t in (1.0, 1e-5))
    assert float(VP().alpha(one)) == pytest.approx(0.00657, abs=1e-5)  # exp(−½ (0.1 + 20)/2)
    assert float(VE().sigma(one)) == pytest.approx(50)
    assert float(VE().sigma(torch.zeros_like(one))) == pytest.approx(0.01)
    assert float(make_process("subvp").sigma(small)) == pytest.approx(1e-6, rel=1e-2)  # as the design page says
    assert Flow().t_max < 1  # λ is infinite at t = 1


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean vp"):
        make_process("vpp")
    with pytest.raises(UsageError, match="sigma_max"):
        make_process("ve", sigma_maxx=80)

"""The practice of the field beside ours, small: all of them agree, and ours needs the fewer calls."""

import math
from functools import partial

import torch

from scorebench.bench.field_practice import find_peer
from scorebench.bench.likelihood_peers import (
    CLOSED,
    DOPRI5,
    FINE,
    PROBE,
    RK45,
    TARGET,
    Result,
    Row,
    compare,
    data,
    ours,
    ours_adaptive,
    practice,
    verdict,
)  # fmt: skip
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import ExactModel


def model_of(address: str) -> ExactModel:
    model = load_model(address)
    assert isinstance(model, ExactModel)
    return model


def test_every_integrator_finds_the_same_likelihood() -> None:
    """In t, in σ̂ and in λ; with one probe too, whose estimate they share to their own errors."""
    model = model_of("exact:gaussian")
    x = model.samples(2, torch.Generator().manual_seed(0))
    truth = model.log_prob(x, torch.tensor(1e-5, dtype=torch.float64))
    for trace in (CLOSED, PROBE):
        found = [
            practice(model, x, trace, RK45, 1e-5),
            *([practice(model, x, trace, DOPRI5, 1e-5)] if not find_peer(DOPRI5).missing else []),
            ours(model, x, trace, "exp-ab4", "logsnr", 200),
            ours_adaptive(model, x, trace, "rk45", 1e-5, 1e-5),
        ]
        for result in found:
            expected = truth if trace is CLOSED else found[0].log_p
            torch.testing.assert_close(result.log_p, expected, rtol=0, atol=0.05)
            assert result.calls >= result.nfe > 10


def test_at_image_scale_a_fixed_grid_needs_a_fifth_of_the_calls() -> None:
    """≤ 0.01 bits/dim with ≤ ⅕ of the calls of RK45 at 1e-5 and ≤ ½ of those of its cheapest tolerance that reaches it."""
    model = model_of("exact:ppca-fashion")
    x = data(model, 4)["draws of the model"]
    truth = model.log_prob(x, torch.tensor(1e-5, dtype=torch.float64))

    def error(result: Result) -> float:
        return float((result.log_p - truth).abs().mean()) / (784 * math.log(2))

    found = ours(model, x, CLOSED, "exp-ab4-x0", "logsnr", 12)
    tight, *loose = (practice(model, x, CLOSED, RK45, tolerance) for tolerance in (1e-5, 1e-2, 1e-1))
    assert error(found) <= TARGET and found.nfe == 12
    assert found.nfe <= tight.nfe / 5
    able = [peer for peer in loose if error(peer) <= TARGET]
    assert able and all(found.nfe <= peer.nfe / 2 for peer in able)


def test_on_held_out_images_steps_of_their_own_need_half_the_calls() -> None:
    """Off the model's own images only the tightest of the field's tolerances reaches 0.01 bits/dim."""
    model = model_of("exact:ppca-fashion")
    x = data(model, 4, first=32)["held-out Fashion-MNIST"]
    truth = model.log_prob(x, torch.tensor(1e-5, dtype=torch.float64))
    own = ours_adaptive(model, x, CLOSED, "bs32", 0.0, 4e-4, 0.25)
    tight, loose = (practice(model, x, CLOSED, RK45, tolerance) for tolerance in (1e-5, 1e-4))
    errors = [float((result.log_p - truth).abs().mean()) / (784 * math.log(2)) for result in (own, tight, loose)]
    assert max(errors[:2]) <= TARGET < errors[2]
    assert own.nfe <= tight.nfe / 2


def test_comparison_and_its_verdict() -> None:
    model = model_of("exact:gmm")
    x = model.samples(4, torch.Generator().manual_seed(0))
    runs = [
        ("scipy RK45", True, partial(practice, peer=RK45, tolerance=1e-5)),
        ("rk45, per image", False, partial(ours_adaptive, solver="rk45", rtol=1e-3, atol=1e-3)),
    ]
    peer, own = compare(model, x, runs)
    assert peer.error < FINE < own.error < TARGET and peer.probe_error > 0 and peer.wall > 0
    coarse, fine = verdict([peer, own])
    assert "0.01 bits/dim: rk45, per image" in coarse and "0.0001 bits/dim: scipy RK45" in fine


def test_the_verdict_names_who_wins_where() -> None:
    def row(name: str, nfe: float, error: float) -> Row:
        return Row(name, name.startswith("scipy"), nfe, int(nfe), error, error, error, error, 1.0, 1.0)

    rows = [row("scipy tight", 100, FINE / 2), row("scipy loose", 40, TARGET / 2), row("ours", 10, TARGET)]
    coarse, fine = verdict(rows)
    assert "ours, 10.0 an image" in coarse and "0.100 of the 100 of scipy tight, 0.250 of the 40" in coarse
    assert "fewest calls to 0.0001 bits/dim: scipy tight" in fine
    assert verdict([row("scipy", 9, 1.0)]) == ["none reaches 0.01 bits/dim", "none reaches 0.0001 bits/dim"]

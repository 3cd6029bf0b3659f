"""Latent codes: encoding against the Gaussian's flow map, round trips, and the great circle between codes."""

from pathlib import Path

import pytest
import torch

from scorebench.bench.likelihood_codes import draw_interpolations, trip
from scorebench.bench.references import images
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.gaussian import Gaussian
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.latent_codes import decode, encode, round_trip, slerp
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find


def test_codes_are_where_the_flow_carries_the_data() -> None:
    model = load_model("exact:gaussian")
    assert isinstance(model, Gaussian)
    p, x = model.process, images(model, 4, 0, torch.float64)
    up = make_grid("logsnr", p, 200, p.t_min_likelihood, p.t_max)
    codes = encode(model, find("rk4"), up, x).x
    torch.testing.assert_close(codes, model.flow_map(x, up[0], up[-1]), rtol=0, atol=1e-3)
    torch.testing.assert_close(decode(model, find("rk4"), up.flip(0), codes).x, x, rtol=0, atol=1e-3)


@pytest.mark.parametrize("id", sorted(id for id, info in SOLVERS.items() if info.kind == "ode"))
def test_every_deterministic_solver_comes_back(id: str) -> None:
    """From t = 0.02, on a grid or at a tolerance on which each has nearly converged; both ways are counted."""
    model, info = load_model("exact:gmm"), SOLVERS[id]
    p, x = model.process, images(model, 8, 0, torch.float64)
    result = round_trip(
        model, info, make_grid("logsnr", p, 40, 0.02, p.t_max), x, {"rtol": 1e-3, "atol": 1e-3} if info.adaptive else {}
    )
    assert result.finite and float(result.error.median()) < 0.2
    if not info.adaptive:
        assert result.count.evaluations.tolist() == [2 * (info.calls(40) or 0)] * 8


def test_at_fifty_calls_the_best_comes_back_ten_times_closer_than_ddim() -> None:
    """On a network: 25 calls there and 25 back, the same images."""
    model = load_model("digits-vp")
    x = images(model, 8, 0, torch.float32)
    ours, ddim = (trip(model, find(id), x, 50, "logsnr") for id in ("exp-ab4-x0", "ddim"))
    assert ours is not None and ddim is not None and ours.nfe == ddim.nfe == 50
    assert float(torch.from_numpy(ours.error).median()) < float(torch.from_numpy(ddim.error).median()) / 10


def test_slerp_keeps_to_the_great_circle() -> None:
    a, b = Noise(0, torch.arange(2), (4, 4)).latents()
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    half, radius = slerp(a, b, 0.5), (a.norm() + b.norm()) / 2
    torch.testing.assert_close(half.norm(), radius)
    torch.testing.assert_close((half * a).sum() / a.norm(), (half * b).sum() / b.norm())
    torch.testing.assert_close(slerp(a, 2 * a, 0.5), 1.5 * a)


def test_interpolations_are_drawn(tmp_path: Path) -> None:
    draw_interpolations(load_model("digits-vp"), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(UsageError, match="no images to interpolate"):
        draw_interpolations(load_model("exact:gmm"), tmp_path / "b.png")


def test_bad_calls_are_refused() -> None:
    model = load_model("exact:gmm")
    x, grid = images(model, 2, 0, torch.float64), make_grid("logsnr", model.process, 4, 1e-5, 1.0)
    with pytest.raises(UsageError, match="deterministic solver, got ddim"):
        encode(model, find("ddim"), grid, x, {"eta": 1.0})
    with pytest.raises(UsageError, match="must increase"):
        encode(model, find("ddim"), grid.flip(0), x)
    with pytest.raises(UsageError, match="must decrease"):
        decode(model, find("ddim"), grid, x)

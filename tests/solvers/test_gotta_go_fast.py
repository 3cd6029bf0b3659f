"""Gotta Go Fast against its algorithm written out sample by sample, on the same Brownian paths."""

import math

import pytest
import torch
from torch import Tensor

from scorebench.bench.certificates.weak import ONE_STEP
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import Model
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

DOUBLE = torch.float64
LAM = torch.tensor([-0.7, 1.0], dtype=DOUBLE)


def points(model: Model, n: int) -> Tensor:
    return Noise(0, torch.arange(n), model.shape).latents()


@pytest.mark.parametrize(("rtol", "atol"), [(0.1, 0.05), (0.3, 0.1)])
def test_gotta_go_fast_is_algorithm_1_sample_by_sample(rtol: float, atol: float, mixture: Model) -> None:
    """Written out for one sample at a time, with host numbers for time and step."""
    p = mixture.process
    ends = p.t_of_lam(LAM)
    first, last = ends.tolist()
    x = points(mixture, 3)
    noise = Noise(7, torch.arange(3), mixture.shape)
    found = solve(mixture, find("gotta-go-fast"), ends, x, options={"rtol": rtol, "atol": atol}, noise=noise)

    def move(x: Tensor, t: float, h: float, z: Tensor) -> Tensor:
        at = torch.tensor(t, dtype=DOUBLE)
        score = (p.alpha(at) * mixture.denoise(x, at) - x) / p.sigma(at) ** 2
        return -h * p.f(at) * x + h * p.g2(at) * score + math.sqrt(h) * torch.sqrt(p.g2(at)) * z

    rejected = 0
    for i in range(3):
        path, t, y, before, calls = noise[torch.tensor([i])], first, x[i : i + 1], x[i : i + 1], 0
        h = 0.01 * (first - last)
        while t > last:
            h = min(h, t - last)
            then = last if h == t - last else t - h
            z = path.increment(t, then)
            low = y + move(y, t, h, z)
            high = 0.5 * (low + y + move(low, then, h, z))
            delta = torch.maximum(torch.tensor(atol, dtype=DOUBLE), rtol * torch.maximum(low.abs(), before.abs()))
            e = float(((low - high) / delta).norm()) / math.sqrt(y.numel())
            if e <= 1:
                y, before, t = high, low, then
            rejected += e > 1
            mantissa, exponent = math.frexp(0.9 * h * e**-0.9)  # rounded down to 8 bits
            h, calls = math.ldexp(math.floor(mantissa * 256), exponent - 8), calls + 2
        torch.testing.assert_close(found.x[i], y[0], rtol=1e-9, atol=1e-10)
        assert int(found.count.evaluations[i]) == calls
    assert rejected


def test_gotta_go_fast_gives_up_on_a_broken_denoiser() -> None:
    model = load_model("exact:gmm")
    denoise = model.denoise
    model.denoise = lambda x, t: denoise(x, t) / (torch.as_tensor(t) > 0.5).to(x)[:, None]  # type: ignore[method-assign]
    noise = Noise(0, torch.arange(3), model.shape)
    assert not solve(model, find("gotta-go-fast"), torch.tensor([1.0, 1e-3]), points(model, 3), noise=noise).finite


def test_gotta_go_fast_follows_its_brownian_path() -> None:
    """Tight tolerances bring it to where a fine Euler–Maruyama arrives with the same noise: rejected steps redraw nothing."""
    model = load_model("exact:gmm")
    noise = Noise(3, torch.arange(8), model.shape)
    ends, x = torch.tensor([0.8, 0.2], dtype=DOUBLE), points(model, 8)
    fine = make_grid("time_uniform", model.process, 1024, 0.8, 0.2)
    truth = solve(model, find("euler-maruyama"), fine, x, noise=noise).x
    errors = []
    for tolerance in (0.1, 0.01):
        tight = {"rtol": tolerance, "atol": tolerance}
        end = solve(model, find("gotta-go-fast"), ends, x, options=tight, noise=noise).x
        errors.append(float((end - truth).norm(dim=1).median()))
    assert errors[1] < 0.02 and errors[1] < errors[0] / 3


def test_in_steps_of_one_size_it_has_its_strong_order() -> None:
    """Without error control, one step for each interval of a grid, against a fine Euler–Maruyama on the same path."""
    model, info = load_model("exact:gmm"), find("gotta-go-fast")
    noise, x0 = Noise(3, torch.arange(32), model.shape), points(model, 32)

    def error(steps: int) -> float:
        x = x0
        for pair in make_grid("time_uniform", model.process, steps, 0.8, 0.2).unfold(0, 2, 1):
            x = solve(model, info, pair, x, options=ONE_STEP[info.id], noise=noise).x
        return float((x - truth).norm(dim=1).pow(2).mean().sqrt())

    fine = make_grid("time_uniform", model.process, 1024, 0.8, 0.2)
    truth = solve(model, find("euler-maruyama"), fine, x0, noise=noise).x
    assert info.strong is not None
    assert math.log2(error(16) / error(32)) == pytest.approx(info.strong, abs=0.25)

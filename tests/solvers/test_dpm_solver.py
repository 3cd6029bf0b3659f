"""DPM-Solver-fast and the adaptive DPM-Solver-12 and -23 against the published algorithms, written out here."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import Model
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

DOUBLE = torch.float64
LAM = [-0.7, -0.35, 0.3, 0.5, 1.2]
ADAPTIVE = ["dpm-solver-12", "dpm-solver-23"]
TIGHT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-11}


class Host:
    """The model in λ, for methods in y = x/α: the noise ε(y, λ)."""

    def __init__(self, model: Model) -> None:
        self.model, self.p = model, model.process

    def t(self, lam: float) -> Tensor:
        return self.p.t_of_lam(torch.tensor(lam, dtype=DOUBLE))

    def alpha(self, lam: float) -> float:
        return float(self.p.alpha(self.t(lam)))

    def noise(self, y: Tensor, lam: float) -> Tensor:
        return (y - self.model.denoise(self.alpha(lam) * y, self.t(lam))) * math.exp(lam)


def dpm_solver(host: Host, y: Tensor, lam: float, end: float, order: int) -> Tensor:
    """One step of DPM-Solver of that order, in y = x/α, where σ_s/α_s is e^{−λ_s}."""
    h, e = end - lam, host.noise(y, lam)
    if order == 1:
        return y - math.exp(-end) * math.expm1(h) * e
    r1, r2 = (0.5, 1.0) if order == 2 else (1 / 3, 2 / 3)
    u = y - math.exp(-lam - r1 * h) * math.expm1(r1 * h) * e
    d1 = host.noise(u, lam + r1 * h) - e
    if order == 2:
        return y - math.exp(-end) * math.expm1(h) * (e + d1 / (2 * r1))
    slope = math.expm1(r2 * h) / (r2 * h) - 1
    v = y - math.exp(-lam - r2 * h) * (math.expm1(r2 * h) * e + r2 / r1 * slope * d1)
    d2 = host.noise(v, lam + r2 * h) - e
    return y - math.exp(-end) * (math.expm1(h) * e + (math.expm1(h) / h - 1) / r2 * d2)


def test_dpm_solver_fast_packs_its_orders(mixture: Model) -> None:
    host, x = Host(mixture), Noise(0, torch.arange(5), mixture.shape).latents()
    grid = mixture.process.t_of_lam(torch.tensor(LAM, dtype=DOUBLE))
    y, found = x / host.alpha(LAM[0]), solve(mixture, find("dpm-solver-fast"), grid, x).x
    for order, (lam, end) in zip((3, 3, 2, 1), pairwise(LAM), strict=True):
        y = dpm_solver(host, y, lam, end, order)
    torch.testing.assert_close(found, host.alpha(LAM[-1]) * y, rtol=1e-9, atol=1e-10)


def test_dpm_solver_fast_states_its_cost() -> None:
    model, info = load_model("exact:gmm"), find("dpm-solver-fast")
    x = torch.zeros(1, 2, dtype=DOUBLE)
    for steps in (2, 3, 6):
        count = solve(model, info, make_grid("logsnr", model.process, steps, 1.0, 1e-3), x).count
        assert count.calls == info.calls(steps) == 3 * steps - 3
    assert [info.steps(budget) for budget in (2, 3, 5, 6, 12)] == [0, 2, 2, 3, 5]
    with pytest.raises(UsageError, match="needs 2 steps, got 1"):
        solve(model, info, make_grid("logsnr", model.process, 1, 1.0, 1e-3), x)


def published_adaptive(host: Host, x: Tensor, order: int, rtol: float, atol: float) -> tuple[Tensor, int]:
    """Algorithm of appendix C of Lu et al. for one sample x (1, d) from LAM[0] to LAM[-1], and the calls it makes."""
    lam, end, h, calls, previous = LAM[0], LAM[-1], 0.05, 0, x
    while lam < end:
        h = min(h, end - lam)
        to = lam + h if h < end - lam else end
        y, alpha = x / host.alpha(lam), host.alpha(to)
        higher = alpha * dpm_solver(host, y, lam, to, order)
        if order == 2:
            lower = alpha * dpm_solver(host, y, lam, to, 1)
        else:
            e = host.noise(y, lam)
            d1 = host.noise(y - math.exp(-lam - h / 3) * math.expm1(h / 3) * e, lam + h / 3) - e
            lower = alpha * (y - math.exp(-to) * math.expm1(h) * (e + 1.5 * d1))
        delta = torch.maximum(torch.tensor(atol), rtol * torch.maximum(lower.abs(), previous.abs()))
        error = float(((lower - higher) / delta).pow(2).mean().sqrt())
        calls += order
        if error <= 1:
            x, previous, lam = higher, lower, to
        h = 0.9 * h * error ** (-1 / order)
    return x, calls


@pytest.mark.parametrize(("id", "order"), [("dpm-solver-12", 2), ("dpm-solver-23", 3)])
@pytest.mark.parametrize("tolerance", [0.05, 1e-3])
def test_adaptive_pairs_follow_the_published_algorithm(id: str, order: int, tolerance: float, mixture: Model) -> None:
    """The same steps for every sample as if it were alone: the same end, the same calls."""
    host, x = Host(mixture), Noise(0, torch.arange(5), mixture.shape).latents()
    grid = mixture.process.t_of_lam(torch.tensor(LAM, dtype=DOUBLE))
    ours = solve(mixture, find(id), grid, x, options={"rtol": tolerance, "atol": tolerance / 5})
    for i in range(len(x)):
        theirs, calls = published_adaptive(host, x[i : i + 1], order, tolerance, tolerance / 5)
        torch.testing.assert_close(ours.x[i], theirs[0], rtol=1e-7, atol=1e-8)
        assert int(ours.count.evaluations[i]) == calls


@pytest.mark.parametrize("id", ADAPTIVE)
def test_adaptive_error_falls_with_the_tolerance(id: str, mixture: Model) -> None:
    p = mixture.process
    x = Noise(0, torch.arange(8), mixture.shape).latents() * p.prior_std
    ends = torch.tensor([p.t_max, p.t_min], dtype=DOUBLE)
    truth = solve(mixture, find("rk45"), ends, x, options=TIGHT).x
    errors = [
        float((solve(mixture, find(id), ends, x, options={"rtol": tol, "atol": tol}).x - truth).norm(dim=1).median())
        for tol in (1e-2, 1e-4)
    ]
    assert errors[1] < 0.1 * errors[0] and errors[1] < 2e-3


@pytest.mark.parametrize("id", ADAPTIVE)
def test_adaptive_there_and_back(id: str) -> None:
    model = load_model("exact:gmm")
    x = Noise(0, torch.arange(6), model.shape).latents()
    ends = torch.tensor([1.0, 1e-3], dtype=DOUBLE)
    options = {"rtol": 1e-5, "atol": 1e-6}
    there = solve(model, find(id), ends, x, options=options, keep_path=True)
    assert there.finite and torch.equal(torch.as_tensor(there.path[-1][0]), ends[1:].expand(6))
    back = solve(model, find(id), ends.flip(0), there.x, options=options).x
    torch.testing.assert_close(back, x, rtol=0, atol=5e-3)


@pytest.mark.parametrize("id", ADAPTIVE)
def test_a_denoiser_that_breaks_is_a_failure_and_no_endless_loop(id: str) -> None:
    model = load_model("exact:gmm")
    denoise = model.denoise
    model.denoise = lambda x, t: denoise(x, t) / (torch.as_tensor(t) > 0.5).to(x)[:, None]  # type: ignore[method-assign]
    x = Noise(0, torch.arange(3), model.shape).latents()
    assert not solve(model, find(id), torch.tensor([1.0, 1e-3], dtype=DOUBLE), x).finite

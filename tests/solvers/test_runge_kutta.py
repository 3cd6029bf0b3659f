"""Runge–Kutta methods against their textbook formulas, DPM2 against diffusers, adaptive pairs against scipy's integrators."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from scorebench.bench.references import latents
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import Model
from scorebench.reference_models.torchvision_repair import repair
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import find

DOUBLE = torch.float64
Slope = Callable[[float, Tensor], Tensor]


def midpoint(f: Slope, s: float, y: Tensor, h: float) -> Tensor:
    return y + h * f(s + h / 2, y + h / 2 * f(s, y))


def bs3(f: Slope, s: float, y: Tensor, h: float) -> Tensor:
    k1 = f(s, y)
    k2 = f(s + h / 2, y + h / 2 * k1)
    k3 = f(s + 3 * h / 4, y + 3 * h / 4 * k2)
    return y + h * (2 * k1 + 3 * k2 + 4 * k3) / 9


def rk4(f: Slope, s: float, y: Tensor, h: float) -> Tensor:
    k1 = f(s, y)
    k2 = f(s + h / 2, y + h / 2 * k1)
    k3 = f(s + h / 2, y + h / 2 * k2)
    k4 = f(s + h, y + h * k3)
    return y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6


@pytest.mark.parametrize("step", [midpoint, bs3, rk4])
def test_textbook_formulas_in_sigma_hat_and_in_t(step: Callable[..., Tensor], mixture: Model) -> None:
    p = mixture.process
    grid = p.t_of_lam(torch.tensor([-0.7, -0.5, 0.1, 0.4, 1.0], dtype=DOUBLE))
    x0 = Noise(0, torch.arange(5), mixture.shape).latents()

    def in_sigma_hat(s: float, y: Tensor) -> Tensor:
        """d(x/α)/dσ̂ = (x/α − D)/σ̂."""
        t = p.t_of_sigma_hat(torch.tensor(s, dtype=DOUBLE))
        return (y - mixture.denoise(p.alpha(t) * y, t)) / s

    def in_t(s: float, x: Tensor) -> Tensor:
        """f x − ½ g² s."""
        t = torch.tensor(s, dtype=DOUBLE)
        score = (p.alpha(t) * mixture.denoise(x, t) - x) / p.sigma(t) ** 2
        return p.f(t) * x - 0.5 * p.g2(t) * score

    for suffix, slope, s, scale in (
        ("", in_sigma_hat, p.sigma_hat(grid), p.alpha(grid)),
        ("-t", in_t, grid, torch.ones(5)),
    ):
        y = x0 / scale[0]
        for n in range(4):
            y = step(slope, float(s[n]), y, float(s[n + 1] - s[n]))
        ours = solve(mixture, find(step.__name__ + suffix), grid, x0).x
        torch.testing.assert_close(ours, scale[-1] * y, rtol=1e-9, atol=1e-10)


def test_dpm2_has_its_midpoint_in_log_sigma_hat(mixture: Model) -> None:
    p = mixture.process
    grid = p.t_of_lam(torch.tensor([-0.7, -0.5, 0.1, 0.4, 1.0], dtype=DOUBLE))
    x0 = Noise(0, torch.arange(5), mixture.shape).latents()
    s, y = p.sigma_hat(grid), x0 / p.alpha(grid[0])

    def slope(y: Tensor, sigma: Tensor) -> Tensor:
        t = p.t_of_sigma_hat(sigma)
        return (y - mixture.denoise(p.alpha(t) * y, t)) / sigma

    for now, then in pairwise(s):
        middle = torch.exp((torch.log(now) + torch.log(then)) / 2)
        y = y + (then - now) * slope(y + (middle - now) * slope(y, now), middle)
    torch.testing.assert_close(solve(mixture, find("dpm2"), grid, x0).x, p.alpha(grid[-1]) * y, rtol=1e-9, atol=1e-10)


@pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # inside diffusers
@pytest.mark.parametrize("grid_name", ["time_uniform", "logsnr", "karras"])
def test_dpm2_agrees_with_diffusers(grid_name: str) -> None:
    """Its σ are our grid; its network calls at midpoints, which it makes at rounded times, are made at the exact ones."""
    repair()
    from diffusers import KDPM2DiscreteScheduler

    model, steps = load_model("digits-vp"), 12
    p = model.process
    grid = make_grid(grid_name, p, steps, 0.9, p.t_min)
    cumulative = (p.alpha(grid) ** 2).flip(0).numpy()
    betas = 1 - cumulative / np.concatenate([[1.0], cumulative[:-1]])
    made: Any = KDPM2DiscreteScheduler(len(betas), trained_betas=betas, timestep_spacing="trailing")
    made.set_timesteps(len(betas))
    x0 = latents(model, 4, 0, torch.float32)
    problem, y, s = Problem.of(model, 4), x0 / p.alpha(grid[0]), p.sigma_hat(grid)
    for call, timestep in enumerate(made.timesteps[: 2 * steps]):
        n = call // 2
        t = p.t_of_sigma_hat(torch.sqrt(s[n] * s[n + 1])) if call % 2 else grid[n]
        y = made.step(problem.eps(p.alpha(t) * y, t), timestep, y).prev_sample
    ours = solve(model, find("dpm2"), grid, x0)
    assert ours.count.calls == 2 * steps
    theirs = p.alpha(grid[-1]) * y
    assert float((ours.x - theirs).norm() / theirs.norm()) < 1e-4


@pytest.mark.parametrize(("id", "method"), [("dop853", "DOP853"), ("bs32", "RK23")])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-5])
@pytest.mark.parametrize("address", ["exact:gmm", "exact:gmm?process=ve", "exact:gaussian?process=flow"])
def test_pairs_agree_with_scipy_at_equal_tolerances(id: str, method: str, tolerance: float, address: str) -> None:
    """The same steps: the same end to round-off's amplification, and the same number of evaluations, per sample."""
    model = load_model(address)
    p = model.process
    x = Noise(0, torch.arange(4), model.shape).latents() * p.prior_std
    ends = torch.tensor([p.t_max, p.t_min], dtype=DOUBLE)
    ours = solve(model, find(id), ends, x, options={"rtol": tolerance, "atol": tolerance})
    assert ours.finite
    for i, row in enumerate(x):
        problem = Problem.of(model, 1)

        def slope(t: float, y: np.ndarray, problem: Problem = problem) -> np.ndarray:
            return problem.velocity(torch.from_numpy(y)[None], t)[0].numpy()

        theirs = solve_ivp(slope, (p.t_max, p.t_min), row.numpy(), method=method, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(ours.x[i].numpy(), theirs.y[:, -1], rtol=1e-6, atol=1e-8)
        assert int(ours.count.evaluations[i]) == theirs.nfev


@pytest.mark.parametrize("id", ["dop853", "bs32"])
def test_pairs_go_both_ways_and_a_broken_denoiser_ends_them(id: str) -> None:
    model = load_model("exact:gmm")
    x = Noise(0, torch.arange(4), model.shape).latents()
    ends = torch.tensor([1.0, 1e-3], dtype=DOUBLE)
    down = solve(model, find(id), ends, x, options={"rtol": 1e-6, "atol": 1e-8}).x
    back = solve(model, find(id), ends.flip(0), down, options={"rtol": 1e-6, "atol": 1e-8}).x
    torch.testing.assert_close(back, x, rtol=0, atol=2e-3)
    denoise = model.denoise
    model.denoise = lambda x, t: denoise(x, t) / (torch.as_tensor(t) > 0.5).to(x)[:, None]  # type: ignore[method-assign]
    assert not solve(model, find(id), ends, x).finite

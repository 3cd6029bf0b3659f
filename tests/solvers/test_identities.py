"""Identities of methods, with the formulas written out here and not taken from the package."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import Model
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import GRIDS, make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

DOUBLE = torch.float64
FIXED_ODE = sorted(info.id for info in SOLVERS.values() if info.kind == "ode" and not info.adaptive)


def latents(model: Model, n: int = 6) -> Tensor:
    return Noise(0, torch.arange(n), model.shape).latents() * model.process.prior_std


def by_hand(model: Model, grid: Tensor, x: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p = model.process
    return p.alpha(grid).numpy(), p.sigma(grid).numpy(), p.lam(grid).numpy()


def test_ddim_is_exponential_euler_is_dpm_solver_1(mixture: Model) -> None:
    """The three formulas of three papers are one map, to round-off; so is Euler's method in σ̂."""
    grid = make_grid("karras", mixture.process, 7, mixture.process.t_max, mixture.process.t_min)
    x0 = latents(mixture)
    alpha, sigma, lam = by_hand(mixture, grid, x0)
    ddim = exponential = x0
    for n in range(7):
        d = mixture.denoise(ddim, grid[n])
        eps = (ddim - alpha[n] * d) / sigma[n]
        ddim = alpha[n + 1] * d + sigma[n + 1] * eps  # DDIM, eq. 12 with η = 0
        d = mixture.denoise(exponential, grid[n])
        h = lam[n + 1] - lam[n]
        exponential = sigma[n + 1] / sigma[n] * exponential + alpha[n + 1] * -math.expm1(-h) * d
    torch.testing.assert_close(ddim, exponential, rtol=1e-10, atol=1e-11)
    for id in ("ddim", "dpm-solver-1", "euler"):
        torch.testing.assert_close(solve(mixture, find(id), grid, x0).x, ddim, rtol=1e-10, atol=1e-11)


def test_heun_is_the_edm_sampler(mixture: Model) -> None:
    """Algorithm 1 of Karras et al., in σ̂ and x/α, without its last Euler step into σ = 0."""
    p = mixture.process
    grid = make_grid("karras", p, 6, p.t_max, p.t_min)
    alpha, sigma, _ = by_hand(mixture, grid, latents(mixture))
    s = sigma / alpha
    y = latents(mixture) / alpha[0]
    for n in range(6):
        slope = (y - mixture.denoise(alpha[n] * y, grid[n])) / s[n]
        guess = y + (s[n + 1] - s[n]) * slope
        again = (guess - mixture.denoise(alpha[n + 1] * guess, grid[n + 1])) / s[n + 1]
        y = y + (s[n + 1] - s[n]) * 0.5 * (slope + again)
    torch.testing.assert_close(
        solve(mixture, find("heun"), grid, latents(mixture)).x, alpha[-1] * y, rtol=1e-9, atol=1e-10
    )


def test_dpmpp_2m_on_an_uneven_grid(mixture: Model) -> None:
    """Algorithm 2 of Lu et al. with steps of unequal λ; an inverted step ratio keeps the order and fails here."""
    p = mixture.process
    lam = torch.tensor([0.0, 0.35, 0.5, 1.2, 1.5], dtype=DOUBLE) - 0.7
    grid = p.t_of_lam(lam)
    x0 = latents(mixture) / p.prior_std
    alpha, sigma, _ = by_hand(mixture, grid, x0)
    h = np.diff(lam.numpy())
    x, d_before = x0, torch.zeros_like(x0)
    for n in range(4):
        d = mixture.denoise(x, grid[n])
        r = h[n - 1] / h[n] if n else math.inf
        mixed = (1 + 1 / (2 * r)) * d - 1 / (2 * r) * d_before
        x, d_before = sigma[n + 1] / sigma[n] * x - alpha[n + 1] * math.expm1(-h[n]) * mixed, d
    torch.testing.assert_close(solve(mixture, find("dpmpp-2m"), grid, x0).x, x, rtol=1e-10, atol=1e-11)


def test_dpm_solver_2_and_3_as_published(mixture: Model) -> None:
    """Algorithms 1 and 2 of Lu et al., with λ-midpoint and thirds, written with α, σ and h as there."""
    p = mixture.process
    lam = torch.tensor([-0.7, -0.3, 0.6], dtype=DOUBLE)
    grid = p.t_of_lam(lam)
    x2 = x3 = x0 = latents(mixture) / p.prior_std

    def at(value: float) -> tuple[Tensor, float, float]:
        t = p.t_of_lam(torch.tensor(value, dtype=DOUBLE))
        return t, float(p.alpha(t)), float(p.sigma(t))

    def eps(x: Tensor, value: float) -> Tensor:
        t, a, s = at(value)
        return (x - a * mixture.denoise(x, t)) / s

    for low, high in ((-0.7, -0.3), (-0.3, 0.6)):
        h, (_, a, _), (_, a_end, s_end) = high - low, at(low), at(high)
        (_, a_mid, s_mid) = at(low + h / 2)
        u = a_mid / a * x2 - s_mid * math.expm1(h / 2) * eps(x2, low)
        x2 = a_end / a * x2 - s_end * math.expm1(h) * eps(u, low + h / 2)
        r1, r2, e = 1 / 3, 2 / 3, eps(x3, low)
        (_, a1, s1), (_, a2, s2) = at(low + r1 * h), at(low + r2 * h)
        d1 = eps(a1 / a * x3 - s1 * math.expm1(r1 * h) * e, low + r1 * h) - e
        u2 = a2 / a * x3 - s2 * math.expm1(r2 * h) * e - s2 * r2 / r1 * (math.expm1(r2 * h) / (r2 * h) - 1) * d1
        d2 = eps(u2, low + r2 * h) - e
        x3 = a_end / a * x3 - s_end * math.expm1(h) * e - s_end / r2 * (math.expm1(h) / h - 1) * d2
    torch.testing.assert_close(solve(mixture, find("dpm-solver-2"), grid, x0).x, x2, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(solve(mixture, find("dpm-solver-3"), grid, x0).x, x3, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("k", [2, 3])
def test_exponential_adams_bashforth_on_an_uneven_grid(k: int, mixture: Model) -> None:
    """The integral of e^{−λ} times the interpolating polynomial, here by moments and a Vandermonde system."""
    p = mixture.process
    lam = np.array([-0.7, -0.5, 0.1, 0.4, 1.0])
    grid = p.t_of_lam(torch.tensor(lam))
    x = x0 = latents(mixture) / p.prior_std
    alpha, sigma, _ = by_hand(mixture, grid, x0)
    history: list[Tensor] = []
    for n in range(4):
        history = [*history, (x - alpha[n] * mixture.denoise(x, grid[n])) / sigma[n]][-k:]
        nodes = lam[n + 1 - len(history) : n + 1] - lam[n]
        h = lam[n + 1] - lam[n]
        moments = [-math.expm1(-h)]  # ∫₀ʰ e^{−s} sʲ ds by parts
        for j in range(1, len(nodes)):
            moments.append(j * moments[-1] - h**j * math.exp(-h))
        weights = np.linalg.solve(np.vander(nodes, increasing=True).T, moments)
        integral = sum(w * e for w, e in zip(weights, history, strict=True))
        x = alpha[n + 1] / alpha[n] * x - alpha[n + 1] * math.exp(-lam[n]) * integral
    torch.testing.assert_close(solve(mixture, find(f"exp-ab{k}"), grid, x0).x, x, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("id", FIXED_ODE)
def test_gaussian_trajectories_converge_to_the_flow_map(id: str, gaussian: Model) -> None:
    p = gaussian.process
    x = latents(gaussian)
    ends = torch.tensor([p.t_max, p.t_min], dtype=DOUBLE)
    truth = gaussian.flow_map(x, *ends)  # type: ignore[attr-defined]
    coarse, fine = (
        float(
            (solve(gaussian, find(id), make_grid("logsnr", p, n, p.t_max, p.t_min), x).x - truth).norm(dim=1).median()
        )
        for n in (100, 200)
    )
    # at 200 steps in λ the slowest method, Euler in t on a process that is stiff in t, has only begun to converge
    assert fine < 0.75 * coarse


@pytest.mark.parametrize("id", FIXED_ODE)
def test_encoding_then_sampling_returns(id: str) -> None:
    model = load_model("exact:gmm")
    p = model.process
    x = latents(model)
    down = make_grid("logsnr", p, 400, p.t_max, p.t_min)
    there = solve(model, find(id), down, x).x
    back = solve(model, find(id), down.flip(0), there).x
    # first-order methods return to within their error of 400 steps; t-uniform ones are slow near t = 1
    assert float((back - x).norm(dim=1).median()) < (0.1 if SOLVERS[id].order == 1 else 0.02)


@pytest.mark.parametrize("grid_name", sorted(GRIDS))
def test_grids_are_monotone_with_exact_ends(grid_name: str, process_name: str) -> None:
    p = load_model(f"exact:gmm?process={process_name}").process
    grid = make_grid(grid_name, p, 17, p.t_max, p.t_min)
    assert grid.shape == (18,) and float(grid[0]) == p.t_max and float(grid[-1]) == p.t_min
    assert bool((torch.diff(grid) < 0).all())
    torch.testing.assert_close(make_grid(grid_name, p, 17, p.t_min, p.t_max), grid.flip(0), rtol=1e-9, atol=1e-12)

"""Multistep methods against their papers' formulas, written out here, on uneven grids; and what their options do."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import Model
from scorebench.reference_models.process import Process
from scorebench.solvers.drive import solve
from scorebench.solvers.methods.stork import STAGES, Scheme, abscissae, rkg2, rock4
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import find

DOUBLE = torch.float64
LAM = np.array([-1.2, -0.7, -0.5, 0.1, 0.4, 1.0, 1.2])


def latents(model: Model) -> Tensor:
    return Noise(0, torch.arange(6), model.shape).latents() * model.process.prior_std


def uneven(p: Process) -> Tensor:
    return p.t_of_lam(torch.tensor(LAM))


def run(model: Model, id: str, grid: Tensor, x: Tensor, **options: Any) -> Tensor:
    return solve(model, find(id), grid, x, options=options).x


def agree(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


def moments(nodes: np.ndarray, values: list[float]) -> np.ndarray:
    """Weights with Σ w_j nodes_j^m = values[m]: those of the interpolating polynomial, by a Vandermonde system."""
    return np.linalg.solve(np.vander(nodes, increasing=True).T, values)


def multistep(model: Model, k: int, x: Tensor, step: Callable[[np.ndarray, int], np.ndarray], data: bool) -> Tensor:
    """x' = r x + Σ w_j F_j with F = D and r = σ'/σ, or F = ε and r = α'/α; weights from `step` (which points, n)."""
    p = model.process
    grid = uneven(p)
    alpha, sigma = p.alpha(grid).numpy(), p.sigma(grid).numpy()
    history: list[Tensor] = []
    for n in range(len(LAM) - 1):
        d = model.denoise(x, grid[n])
        history = [*history, d if data else (x - alpha[n] * d) / sigma[n]][-k:]
        ratio = sigma[n + 1] / sigma[n] if data else alpha[n + 1] / alpha[n]
        weights = step(np.arange(n + 1 - len(history), n + 1), n)
        x = ratio * x + sum(float(w) * f for w, f in zip(weights, history, strict=True))
    return x


@pytest.mark.parametrize(("id", "k"), [("lms", 4), ("ipndm-v", 4), *((f"deis-rhoab{k - 1}", k) for k in (2, 3, 4))])
def test_linear_multistep_methods_in_sigma_hat(id: str, k: int, mixture: Model) -> None:
    """∫ (σ̂ − σ̂_n)^m dσ̂ are powers of the step."""
    p, x = mixture.process, latents(mixture)
    s, alpha = np.exp(-LAM), p.alpha(uneven(p)).numpy()

    def step(which: np.ndarray, n: int) -> np.ndarray:
        h = s[n + 1] - s[n]
        return alpha[n + 1] * moments(s[which] - s[n], [h ** (m + 1) / (m + 1) for m in range(len(which))])

    agree(run(mixture, id, uneven(p), x), multistep(mixture, k, x, step, data=False))


@pytest.mark.parametrize(("id", "k"), [("exp-ab1", 1), ("exp-ab4", 4), *((f"exp-ab{k}-x0", k) for k in (1, 2, 3, 4))])
def test_exponential_multistep_methods(id: str, k: int, mixture: Model) -> None:
    """∫₀ʰ e^{∓s} s^m ds by parts; with D the factor is e^{+s}, with ε e^{−s}."""
    p, x, data = mixture.process, latents(mixture), id.endswith("x0")
    scale = (p.sigma(uneven(p)) if data else p.alpha(uneven(p))).numpy()
    sign = 1.0 if data else -1.0

    def step(which: np.ndarray, n: int) -> np.ndarray:
        h = LAM[n + 1] - LAM[n]
        values = [sign * math.expm1(sign * h)]
        for m in range(1, len(which)):
            values.append(sign * (h**m * math.exp(sign * h) - m * values[-1]))
        return sign * scale[n + 1] * math.exp(sign * LAM[n]) * moments(LAM[which] - LAM[n], values)

    agree(run(mixture, id, uneven(p), x), multistep(mixture, k, x, step, data))


@pytest.mark.parametrize("k", [2, 3, 4])
def test_deis_is_the_integral_over_t_of_its_paper(k: int, mixture: Model) -> None:
    """C_j = ∫ Ψ(t', τ) g²(τ)/2σ(τ) ℓ_j(τ) dτ (equation 15), by adaptive quadrature in τ."""
    p, x = mixture.process, latents(mixture)
    grid = uneven(p)
    t = grid.numpy()

    def step(which: np.ndarray, n: int) -> np.ndarray:
        def integrand(tau: float, j: int) -> float:
            at = torch.tensor(tau, dtype=DOUBLE)
            psi = torch.exp(p.log_alpha(grid[n + 1]) - p.log_alpha(at))
            basis = math.prod((tau - t[i]) / (t[j] - t[i]) for i in which if i != j)
            return float(psi * 0.5 * p.g2(at) / p.sigma(at)) * basis

        return np.array([quad(integrand, t[n], t[n + 1], args=(j,), epsabs=0, epsrel=1e-11)[0] for j in which])

    agree(run(mixture, f"deis-tab{k - 1}", grid, x), multistep(mixture, k, x, step, data=False))


@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0])
def test_gradient_estimation(gamma: float, mixture: Model) -> None:
    """x/α moves by (σ̂' − σ̂)(γ ε + (1 − γ) ε₋₁); with γ = 1 it is DDIM."""
    p, x = mixture.process, latents(mixture)
    s, alpha = np.exp(-LAM), p.alpha(uneven(p)).numpy()

    def step(which: np.ndarray, n: int) -> np.ndarray:
        return alpha[n + 1] * (s[n + 1] - s[n]) * np.array([1 - gamma, gamma] if len(which) == 2 else [1.0])

    agree(run(mixture, "gradient-estimation", uneven(p), x, gamma=gamma), multistep(mixture, 2, x, step, data=False))


def test_res_multistep(mixture: Model) -> None:
    """Two-stage weights φ₁ − φ₂/c₂ and φ₂/c₂ at −h, with the step before as c₂ = −h₋₁/h."""
    p, x = mixture.process, latents(mixture)
    alpha = p.alpha(uneven(p)).numpy()

    def step(which: np.ndarray, n: int) -> np.ndarray:
        h = LAM[n + 1] - LAM[n]
        phi1 = -math.expm1(-h) / h
        if len(which) == 1:
            return alpha[n + 1] * h * np.array([phi1])
        b2 = (1 - phi1) / h / ((LAM[n - 1] - LAM[n]) / h)
        return alpha[n + 1] * h * np.array([b2, phi1 - b2])

    agree(run(mixture, "res-2m", uneven(p), x), multistep(mixture, 2, x, step, data=True))


@pytest.mark.parametrize(("id", "factor"), [("dpmpp-3m", 1.0), ("dpmpp-3m-corrected", 2.0)])
def test_dpmpp_3m_as_published_and_corrected(id: str, factor: float, mixture: Model) -> None:
    """Published with the coefficient φ₃ of the second divided difference; the polynomial needs 2φ₃."""
    p, x = mixture.process, latents(mixture)
    alpha, sigma, grid = p.alpha(uneven(p)).numpy(), p.sigma(uneven(p)).numpy(), uneven(p)
    d: list[Tensor] = []
    start = x
    for n in range(len(LAM) - 1):
        d.append(mixture.denoise(x, grid[n]))
        h = LAM[n + 1] - LAM[n]
        x = sigma[n + 1] / sigma[n] * x - alpha[n + 1] * math.expm1(-h) * d[n]
        if n == 1:
            x = x - 0.5 * alpha[n + 1] * math.expm1(-h) * h / (LAM[1] - LAM[0]) * (d[1] - d[0])
        elif n > 1:
            r0, r1 = (LAM[n] - LAM[n - 1]) / h, (LAM[n - 1] - LAM[n - 2]) / h
            near, far = (d[n] - d[n - 1]) / r0, (d[n - 1] - d[n - 2]) / r1
            first, second = near + r0 / (r0 + r1) * (near - far), (near - far) / (r0 + r1)
            x = x + alpha[n + 1] * (math.expm1(-h) / h + 1) * first
            x = x - factor * alpha[n + 1] * ((math.expm1(-h) + h) / h**2 - 0.5) * second
    agree(run(mixture, id, grid, start), x)


def tableau(scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """Butcher's A (s, s) and b (s,): the scheme run on the slopes' coefficients."""
    rows: list[np.ndarray] = []
    size = len(abscissae(scheme))

    def slope(j: int, y: np.ndarray) -> np.ndarray:
        rows.append(y)
        return np.eye(size)[j]

    b = scheme(slope, np.zeros(size))
    return np.array(rows), b


@pytest.mark.parametrize(("scheme", "order", "interval"), [(rkg2, 2, 880.0), (rock4, 4, 1000.0)])
def test_stabilised_schemes_have_their_order_and_their_stability_interval(
    scheme: Scheme, order: int, interval: float
) -> None:
    """Order conditions of Butcher's trees, and |R(z)| ≤ 1 on the negative axis, far beyond 2.8 of a classical method."""
    a, b = tableau(scheme)
    c = a.sum(1)
    np.testing.assert_allclose(c, abscissae(scheme), atol=1e-13)
    conditions = [
        (b.sum(), 1),
        (b @ c, 1 / 2),
        (b @ c**2, 1 / 3),
        (b @ a @ c, 1 / 6),
        (b @ c**3, 1 / 4),
        (b @ (c * (a @ c)), 1 / 8),
        (b @ a @ c**2, 1 / 12),
        (b @ a @ a @ c, 1 / 24),
    ]
    count = {2: 2, 4: 8}[order]
    for found, value in conditions[:count]:
        assert float(found) == pytest.approx(value, abs=1e-11)
    z = np.linspace(-interval, 0, 2001)
    assert np.abs(scheme(lambda j, y: z * y, np.ones(len(z)))).max() <= 1 + 1e-9


@pytest.mark.parametrize(("id", "scheme"), [("stork-2", rkg2), ("stork-4", rock4)])
def test_stork_on_equal_steps_is_its_papers_taylor_expansion(id: str, scheme: Scheme, mixture: Model) -> None:
    """Stages on the state itself, ε by Taylor's formula with the paper's differences for equal steps, after an exact start."""
    p = mixture.process
    t, h = 0.6, -0.05
    end, past = latents(mixture), []
    for n in (3, 2, 1):  # three points before; any will do
        past.append((t - n * h, end + 0.1 * n))
    x = end
    e3, e2, e1 = (Problem.of(mixture, 6).eps(at, s) for s, at in past)
    e = Problem.of(mixture, 6).eps(x, t)
    first = (2 * e3 - 9 * e2 + 18 * e1 - 11 * e) / (-6 * h)
    second = (-e3 + 4 * e2 - 5 * e1 + 2 * e) / h**2
    third = (e3 - 3 * e2 + 3 * e1 - e) / (-(h**3))
    c = abscissae(scheme)

    def slope(j: int, y: np.ndarray) -> np.ndarray:
        s = float(c[j]) * h
        eps = e + s * first + s**2 / 2 * second + s**3 / 6 * third
        at = torch.tensor(t + s, dtype=DOUBLE)
        return h * (float(p.f(at)) * y + float(0.5 * p.g2(at) / p.sigma(at)) * eps.numpy())

    theirs = torch.from_numpy(scheme(slope, x.numpy()))
    grid = torch.tensor([t, t + h], dtype=DOUBLE)
    options = {"prediction_type": "epsilon"}
    ours = solve(mixture, find(id), grid, x, options=options, start=tuple(past)).x
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)
    assert len(c) == STAGES + (4 if id == "stork-4" else 0)


@pytest.mark.parametrize(("id", "scheme"), [("stork-2", rkg2), ("stork-4", rock4)])
def test_storks_first_step(id: str, scheme: Scheme, mixture: Model) -> None:
    """Euler to the middle, Adams–Bashforth to the end, then the step anew with ε a parabola through the three."""
    p, x, problem = mixture.process, latents(mixture), Problem.of(mixture, 6)
    t, h = 0.6, -0.05

    def drift(y: Tensor, at: float, eps: Tensor) -> Tensor:
        s = torch.tensor(at, dtype=DOUBLE)
        return float(p.f(s)) * y + float(0.5 * p.g2(s) / p.sigma(s)) * eps

    e0 = problem.eps(x, t)
    middle = x + 0.5 * h * drift(x, t, e0)
    e1 = problem.eps(middle, t + 0.5 * h)
    end = middle + 0.75 * h * drift(middle, t + 0.5 * h, e1) - 0.25 * h * drift(x, t, e0)
    e2 = problem.eps(end, t + h)

    def slope(j: int, y: np.ndarray) -> np.ndarray:
        c = float(abscissae(scheme)[j])
        eps = e0 + c * (-3 * e0 + 4 * e1 - e2) + 2 * c**2 * (e0 - 2 * e1 + e2)
        return h * drift(torch.from_numpy(y), t + c * h, eps).numpy()

    ours = solve(mixture, find(id), torch.tensor([t, t + h], dtype=DOUBLE), x, options={"prediction_type": "epsilon"})
    assert ours.count.calls == 3
    torch.testing.assert_close(ours.x, torch.from_numpy(scheme(slope, x.numpy())), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("corrector", [True, False])
@pytest.mark.parametrize(("id", "order"), [("unipc-1", 1), ("unipc-2", 2), ("unipc-3", 3)])
def test_the_corrector_is_worth_one_order(id: str, order: int, corrector: bool, variant: str) -> None:
    """From exact starting values on a Gaussian's flow map, uniform in λ."""
    model = load_model("exact:gaussian")
    p, lam = model.process, (-1.0, 1.0)
    x0 = latents(model)

    def error(steps: int) -> Tensor:
        width = (lam[1] - lam[0]) / steps
        times = p.t_of_lam(lam[0] + width * torch.arange(-3, steps + 1, dtype=DOUBLE))
        states = [model.flow_map(x0, times[0], t) for t in times]  # type: ignore[attr-defined]
        start = tuple((float(t), x) for t, x in zip(times[:3], states[:3], strict=True))
        options = {"variant": variant, "corrector": corrector}
        end = solve(model, find(id), times[3:], states[3], options=options, start=start).x
        return (end - states[-1]).norm(dim=1)

    slope = float(torch.log2(error(64) / error(128)).median())
    assert slope == pytest.approx(order + corrector, abs=0.2)


def test_words_that_are_no_choice_are_refused() -> None:
    model = load_model("exact:gmm")
    grid = uneven(model.process)
    with pytest.raises(UsageError, match="bh1 or bh2"):
        run(model, "unipc-2", grid, latents(model), variant="bh3")
    with pytest.raises(UsageError, match="epsilon or flow_prediction"):
        run(model, "stork-2", grid, latents(model), prediction_type="x0")

"""Single-step exponential methods against implementations written out here, in x/α or in λ, on an uneven grid."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scorebench.bench.references import latents
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import Model
from scorebench.reference_models.torchvision_repair import repair
from scorebench.solvers.drive import solve
from scorebench.solvers.exponential import lagrange_weights, phi
from scorebench.solvers.grids import make_grid
from scorebench.solvers.methods.exponential_runge_kutta import PhiTableau, refined_2, refined_3
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import find

DOUBLE = torch.float64
LAM = [-0.7, -0.35, 0.3, 0.5, 1.2]


class Host:
    """The model in λ, for methods in y = x/α: data D(y, λ) and noise ε(y, λ)."""

    def __init__(self, model: Model) -> None:
        self.model, self.p = model, model.process

    def t(self, lam: float) -> Tensor:
        return self.p.t_of_lam(torch.tensor(lam, dtype=DOUBLE))

    def alpha(self, lam: float) -> float:
        return float(self.p.alpha(self.t(lam)))

    def data(self, y: Tensor, lam: float) -> Tensor:
        return self.model.denoise(self.alpha(lam) * y, self.t(lam))


def run(model: Model, id: str, **options: Any) -> tuple[Tensor, Tensor, Host]:
    """y at LAM[0] and what the registered method makes of it at LAM[-1]."""
    host = Host(model)
    x = Noise(0, torch.arange(5), model.shape).latents()
    grid = model.process.t_of_lam(torch.tensor(LAM, dtype=DOUBLE))
    end = solve(model, find(id), grid, x, options=options).x
    return x / host.alpha(LAM[0]), end / host.alpha(LAM[-1]), host


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def phis(z: float) -> tuple[float, float, float]:
    """φ₁, φ₂ and φ₃ by their Taylor series."""
    return tuple(sum(z**j / math.factorial(j + k) for j in range(40)) for k in (1, 2, 3))  # type: ignore[return-value]


@pytest.mark.parametrize("z", [-14.0, -3.0, -0.5, -1e-3, -1e-9, 0.0, 1e-6, 0.7, 9.0])
def test_phi_functions(z: float) -> None:
    expected = phis(z) if abs(z) < 4 else None
    for k in (1, 2, 3):
        value = float(phi(k, torch.tensor(z, dtype=DOUBLE)))
        if expected:
            assert value == pytest.approx(expected[k - 1], rel=1e-14)
        else:  # far from 0 the recursion is stable
            recursion = math.exp(z)
            for j in range(k):
                recursion = (recursion - 1 / math.factorial(j)) / z
            assert value == pytest.approx(recursion, rel=1e-12)


def test_lagrange_weights_integrate_cubics() -> None:
    nodes, rate, low, high = [-1.0, -0.4, 0.1, 0.5], 1.7, 0.1, 0.5
    weights = lagrange_weights(nodes, low, high, rate)
    for power in range(4):
        lam = np.linspace(low, high, 200_001)
        f = rate * np.exp(rate * (lam - high)) * lam**power
        expected = float(np.trapezoid(f, lam))
        assert sum(w * node**power for w, node in zip(weights, nodes, strict=True)) == pytest.approx(
            expected, abs=1e-10
        )


def test_dpmpp_2s_as_published(mixture: Model) -> None:
    """Algorithm 1 of Lu et al. with r = ½, its difference form."""
    y, found, host = run(mixture, "dpmpp-2s")
    r = 0.5
    for lam, end in pairwise(LAM):
        h, d = end - lam, host.data(y, lam)
        u = math.exp(-r * h) * y - math.expm1(-r * h) * d
        d1 = host.data(u, lam + r * h)
        y = math.exp(-h) * y - math.expm1(-h) * ((1 - 1 / (2 * r)) * d + 1 / (2 * r) * d1)
    close(found, y)


def test_etd_rk2_and_rk4_as_published(mixture: Model) -> None:
    """Cox & Matthews 2002, eq. 22, and Krogstad 2005, eq. 51, for dy/dλ = −y + D, with φ functions by Taylor series."""
    y, found, host = run(mixture, "etd-rk2")
    for lam, end in pairwise(LAM):
        h, n = end - lam, host.data(y, lam)
        p1, p2, _ = phis(-h)
        a = math.exp(-h) * y + h * p1 * n
        y = a + h * p2 * (host.data(a, end) - n)
    close(found, y)
    y, found, _ = run(mixture, "etd-rk4")
    for lam, end in pairwise(LAM):
        h, half = end - lam, (lam + end) / 2
        (p1, p2, p3), (q1, q2, _), n1 = phis(-h), phis(-h / 2), host.data(y, lam)
        keep, keep_half = math.exp(-h), math.exp(-h / 2)
        n2 = host.data(keep_half * y + h * q1 / 2 * n1, half)
        n3 = host.data(keep_half * y + h * (q1 / 2 - q2) * n1 + h * q2 * n2, half)
        n4 = host.data(keep * y + h * (p1 - 2 * p2) * n1 + h * 2 * p2 * n3, end)
        slope = (p1 - 3 * p2 + 4 * p3) * n1 + (2 * p2 - 4 * p3) * (n2 + n3) + (4 * p3 - p2) * n4
        y = keep * y + h * slope
    close(found, y)


@pytest.mark.parametrize("c2", [0.5, 0.3])
def test_res_2s_as_published(c2: float, mixture: Model) -> None:
    y, found, host = run(mixture, "res-2s", c2=c2)
    for lam, end in pairwise(LAM):
        h, d = end - lam, host.data(y, lam)
        (p1, p2, _), (q1, _, _) = phis(-h), phis(-c2 * h)
        u = math.exp(-c2 * h) * y + h * c2 * q1 * d
        y = math.exp(-h) * y + h * ((p1 - p2 / c2) * d + p2 / c2 * host.data(u, lam + c2 * h))
    close(found, y)


@pytest.mark.parametrize(("c2", "c3"), [(0.5, 1.0), (1 / 3, 2 / 3)])
def test_res_3s_as_published(c2: float, c3: float, mixture: Model) -> None:
    """Hochbruck & Ostermann 2005, eq. 5.8."""
    y, found, host = run(mixture, "res-3s", c2=c2, c3=c3)
    gamma = (3 * c3 - 2) * c3 / ((2 - 3 * c2) * c2)
    for lam, end in pairwise(LAM):
        h, d1 = end - lam, host.data(y, lam)
        (p1, p2, _), (q1, q2, _), (s1, s2, _) = phis(-h), phis(-c2 * h), phis(-c3 * h)
        d2 = host.data(math.exp(-c2 * h) * y + h * c2 * q1 * d1, lam + c2 * h)
        a32 = gamma * c2 * q2 + c3**2 / c2 * s2
        d3 = host.data(math.exp(-c3 * h) * y + h * ((c3 * s1 - a32) * d1 + a32 * d2), lam + c3 * h)
        share = p2 / (gamma * c2 + c3)
        y = math.exp(-h) * y + h * (p1 * d1 + share * (gamma * (d2 - d1) + d3 - d1))
    close(found, y)


@pytest.mark.parametrize("tableau", [refined_2(0.5), refined_2(0.2), refined_3(0.5, 1.0), refined_3(1 / 3, 2 / 3)])
def test_refined_tableaux_meet_the_stiff_order_conditions(tableau: PhiTableau) -> None:
    """Σ b_j = φ₁ and Σ b_j c_j = φ₂ for every h; with three stages also Σ b_j c_j² = 2φ₃ at h = 0, as both papers have it."""
    for h in (0.0, 0.3, 5.0):
        (b,) = tableau.weights(tableau.b, 1.0, torch.tensor([-h], dtype=DOUBLE))
        p1, p2, p3 = phis(-h)
        assert sum(b) == pytest.approx(p1, rel=1e-12)
        assert sum(w * c for w, c in zip(b, tableau.c, strict=True)) == pytest.approx(p2, rel=1e-12)
        if h == 0 and len(b) == 3:
            assert sum(w * c**2 for w, c in zip(b, tableau.c, strict=True)) == pytest.approx(2 * p3, rel=1e-12)


def test_tableaux_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="nodes need"):
        PhiTableau((0.0, 0.5), ((),), (((1.0, 2, 1.0),),))
    with pytest.raises(ValueError, match="row i must have"):
        PhiTableau((0.0, 0.5), ((), (((1.0, 2, 1.0),),)), (((1.0, 2, 1.0),),))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside diffusers
def test_dpmpp_2s_agrees_with_diffusers() -> None:
    """Its singlestep scheduler visits the middles of our steps as timesteps of its own: a grid of twice the steps."""
    repair()
    from diffusers import DPMSolverSinglestepScheduler

    model = load_model("digits-vp")
    p, steps = model.process, 10
    grid = make_grid("logsnr", p, 2 * steps, 0.9, p.t_min)
    cumulative = (p.alpha(grid) ** 2).flip(0).numpy()
    betas = 1 - cumulative / np.concatenate([[1.0], cumulative[:-1]])
    theirs = DPMSolverSinglestepScheduler(
        num_train_timesteps=len(betas), trained_betas=betas, solver_order=2, final_sigmas_type="sigma_min"
    )
    theirs.set_timesteps(timesteps=list(range(2 * steps, 0, -1)))
    theirs.order_list = [1, 2] * steps
    x = latents(model, 4, 0, torch.float32)
    problem, sample = Problem.of(model, 4), x
    for timestep in theirs.timesteps:
        eps = problem.eps(sample, float(grid[2 * steps - int(timestep)]))
        sample = theirs.step(eps, int(timestep), sample).prev_sample
    ours = solve(model, find("dpmpp-2s"), grid[::2], x)
    assert ours.count.calls == 2 * steps
    assert float((ours.x - sample).norm() / sample.norm()) < 1e-4

"""Stochastic exponential methods against formulas written out here, both given the same noise."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from scipy.integrate import quad
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


class Recorder(Noise):
    """Keeps every normal that it gives, in order."""

    def __init__(self, size: int, shape: tuple[int, ...], dtype: torch.dtype = DOUBLE) -> None:
        super().__init__(0, torch.arange(size), shape, dtype)
        self.given: list[Tensor] = []

    def increment(self, s_from: float, s_to: float) -> Tensor:
        self.given.append(super().increment(s_from, s_to))
        return self.given[-1]


class Host:
    """The model in σ̂ = e^{−λ} for y = x/α, as k-diffusion has it, and what a registered method made of the same y."""

    def __init__(self, model: Model, id: str, **options: Any) -> None:
        self.model, self.p = model, model.process
        grid = self.p.t_of_lam(torch.tensor(LAM, dtype=DOUBLE))
        noise = Recorder(5, model.shape)
        x = noise.latents()
        end = solve(model, find(id), grid, x, options=options, noise=noise).x
        self.y, self.end = x / self.alpha(LAM[0]), end / self.alpha(LAM[-1])
        self.z = iter(noise.given)

    def t(self, lam: float) -> Tensor:
        return self.p.t_of_lam(torch.tensor(lam, dtype=DOUBLE))

    def alpha(self, lam: float) -> float:
        return float(self.p.alpha(self.t(lam)))

    def data(self, y: Tensor, lam: float) -> Tensor:
        return self.model.denoise(self.alpha(lam) * y, self.t(lam))

    def noise(self, y: Tensor, lam: float) -> Tensor:
        return (y - self.data(y, lam)) * math.exp(lam)

    def check(self, y: Tensor) -> None:
        torch.testing.assert_close(self.end, y, rtol=1e-9, atol=1e-10)
        assert next(self.z, None) is None


def lagrange_integral(nodes: list[float], j: int, low: float, high: float, rate: float) -> float:
    """∫ rate · e^{rate(λ − high)} ℓ_j(λ) dλ by scipy."""

    def integrand(lam: float) -> float:
        basis = math.prod((lam - other) / (nodes[j] - other) for i, other in enumerate(nodes) if i != j)
        return rate * math.exp(rate * (lam - high)) * basis

    return float(quad(integrand, low, high, epsabs=1e-13, epsrel=1e-13)[0])


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("id", "k"), [("sde-dpmpp-1", 1), ("sde-dpmpp-3m-corrected", 3)])
def test_sde_dpmpp_with_exact_integrals(id: str, k: int, eta: float, mixture: Model) -> None:
    """The integral of Lagrange's polynomial through the last k values of D, by scipy."""
    host = Host(mixture, id, eta=eta)
    y, history = host.y, []
    for n, (lam, end) in enumerate(pairwise(LAM)):
        h, history = end - lam, [*history, host.data(y, lam)][-k:]
        nodes = LAM[n + 1 - len(history) : n + 1]
        y = math.exp(-(1 + eta**2) * h) * y
        y = y + sum(lagrange_integral(nodes, j, lam, end, 1 + eta**2) * d for j, d in enumerate(history))
        if eta:
            y = y + math.exp(-end) * math.sqrt(-math.expm1(-2 * eta**2 * h)) * next(host.z)
    host.check(y)


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("solver_type", ["midpoint", "heun"])
def test_sde_dpmpp_2m_as_in_k_diffusion(solver_type: str, eta: float, mixture: Model) -> None:
    """sample_dpmpp_2m_sde, whose eta is the square of ours."""
    host, theirs = Host(mixture, "sde-dpmpp-2m", eta=eta, solver_type=solver_type), eta**2
    y, before, h_before = host.y, None, 0.0
    for lam, end in pairwise(LAM):
        h, d = end - lam, host.data(y, lam)
        m = -math.expm1(-h - theirs * h)
        y = math.exp(lam - end - theirs * h) * y + m * d
        if before is not None:
            share = 0.5 * m if solver_type == "midpoint" else m / (-h - theirs * h) + 1
            y = y + share * (h / h_before) * (d - before)
        y = y + math.exp(-end) * math.sqrt(-math.expm1(-2 * theirs * h)) * next(host.z)
        before, h_before = d, h
    host.check(y)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_sde_dpmpp_3m_as_in_k_diffusion(eta: float, mixture: Model) -> None:
    """sample_dpmpp_3m_sde; with 2φ₃ for its φ₃ this would be the corrected method."""
    host = Host(mixture, "sde-dpmpp-3m", eta=eta)
    y, d, h = host.y, [], []
    for lam, end in pairwise(LAM):
        d, h = [host.data(y, lam), *d][:3], [end - lam, *h][:3]
        rate = h[0] * (1 + eta**2)
        y = math.exp(-rate) * y - math.expm1(-rate) * d[0]
        phi2 = math.expm1(-rate) / rate + 1
        slopes = [(a - b) * h[0] / step for (a, b), step in zip(pairwise(d), h[1:], strict=False)]
        if len(slopes) == 1:
            y = y + phi2 * slopes[0]
        elif len(slopes) == 2:
            r0, r1 = h[1] / h[0], h[2] / h[0]
            d1 = slopes[0] + (slopes[0] - slopes[1]) * r0 / (r0 + r1)
            y = y + phi2 * d1 - (phi2 / rate - 0.5) * (slopes[0] - slopes[1]) / (r0 + r1)
        y = y + math.exp(-end) * math.sqrt(-math.expm1(-2 * h[0] * eta**2)) * next(host.z)
    host.check(y)


def ancestral(s: float, s_next: float, eta: float) -> tuple[float, float]:
    up = min(s_next, eta * math.sqrt(s_next**2 * (s**2 - s_next**2) / s**2))
    return math.sqrt(s_next**2 - up**2), up


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_dpmpp_2s_ancestral_as_in_k_diffusion(eta: float, mixture: Model) -> None:
    host = Host(mixture, "dpmpp-2s-ancestral", eta=eta)
    y = host.y
    for lam, end in pairwise(LAM):
        down, up = ancestral(math.exp(-lam), math.exp(-end), eta)
        h = -math.log(down) - lam
        u = math.exp(-h / 2) * y - math.expm1(-h / 2) * host.data(y, lam)
        y = math.exp(-h) * y - math.expm1(-h) * host.data(u, lam + h / 2)
        y = y + up * next(host.z) if eta else y
    host.check(y)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_dpmpp_sde_as_in_k_diffusion(eta: float, mixture: Model) -> None:
    host = Host(mixture, "dpmpp-sde", eta=eta)
    y = host.y
    for lam, end in pairwise(LAM):
        middle = (lam + end) / 2
        down, up = ancestral(math.exp(-lam), math.exp(-middle), eta)
        keep = down * math.exp(lam)
        u = keep * y + (1 - keep) * host.data(y, lam)
        u = u + up * next(host.z) if eta else u
        down, up = ancestral(math.exp(-lam), math.exp(-end), eta)
        keep = down * math.exp(lam)
        y = keep * y + (1 - keep) * host.data(u, middle)  # the average of D with r = ½ is D(u)
        y = y + up * next(host.z) if eta else y
    host.check(y)


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_seeds_as_published(stages: int, mixture: Model) -> None:
    """Algorithms 1 to 3 of Gonzalez et al. with their noise coefficients, in y = x/α, where σ_s/α_s is e^{−λ_s}."""
    host = Host(mixture, f"seeds-{stages}")
    y = host.y
    for lam, end in pairwise(LAM):
        h, e = end - lam, host.noise(y, lam)
        z = [next(host.z) for _ in range(stages)]
        c = [i * h / stages for i in range(stages + 1)]

        def noise(i: int, z: list[Tensor] = z, c: list[float] = c, lam: float = lam) -> Tensor:
            """σ_i Σ √(e^{2(c_i − c_j)} − e^{2(c_i − c_{j+1})}) z_j over the path up to stage i."""
            roots = [math.sqrt(math.exp(2 * (c[i] - c[j])) - math.exp(2 * (c[i] - c[j + 1]))) for j in range(i)]
            return math.exp(-lam - c[i]) * sum(root * z[j] for j, root in enumerate(roots))  # type: ignore[return-value]

        def euler(i: int, e: Tensor, y: Tensor = y, c: list[float] = c, lam: float = lam) -> Tensor:
            return y - 2 * math.exp(-lam - c[i]) * math.expm1(c[i]) * e + noise(i)

        if stages == 1:
            y = euler(1, e)
        elif stages == 2:
            y = euler(2, host.noise(euler(1, e), lam + c[1]))
        else:
            d1 = host.noise(euler(1, e), lam + c[1]) - e
            u2 = euler(2, e) - 4 * math.exp(-lam - c[2]) * (math.expm1(c[2]) / c[2] - 1) * d1
            d2 = host.noise(u2, lam + c[2]) - e
            y = euler(3, e) - 3 * math.exp(-end) * (math.expm1(h) / h - 1) * d2
    host.check(y)


PHI = {"ode": lambda s: s, "sde": lambda s: s**2, "er-sde-5": lambda s: s * (math.exp(s**0.3) + 10)}


@pytest.mark.parametrize("phi", sorted(PHI))
@pytest.mark.parametrize("order", [1, 2, 3])
def test_er_sde_as_published(order: int, phi: str, mixture: Model) -> None:
    """Algorithms 1 to 3 of Cui et al. with the integrals by scipy."""
    host, f = Host(mixture, f"er-sde-{order}", phi=phi), PHI[phi]
    y, d, s = host.y, [], [math.exp(-lam) for lam in LAM]
    for n in range(len(LAM) - 1):
        d, now, to = [*d, host.data(y, LAM[n])], s[n], s[n + 1]
        r = f(to) / f(now)
        y = r * y + (1 - r) * d[-1]
        if order > 1 and n > 0:
            slope = (d[-1] - d[-2]) / (now - s[n - 1])
            first = quad(lambda v: 1 / f(v), to, now, epsabs=1e-13)[0]
            y = y + (to - now + f(to) * first) * slope
        if order > 2 and n > 1:
            bend = 2 * (slope - (d[-2] - d[-3]) / (s[n - 1] - s[n - 2])) / (now - s[n - 2])
            second = quad(lambda v, now=now: (v - now) / f(v), to, now, epsabs=1e-13)[0]
            y = y + ((to - now) ** 2 / 2 + f(to) * second) * bend
        if phi != "ode":
            y = y + math.sqrt(to**2 - r**2 * now**2) * next(host.z)
    host.check(y)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("predictor_order", "corrector_order"), [(3, 4), (2, 2), (1, 3)])
def test_sa_solver_as_published(predictor_order: int, corrector_order: int, tau: float, mixture: Model) -> None:
    """Algorithm 1 of Xue et al. with the integrals by scipy."""
    orders = {"predictor_order": predictor_order, "corrector_order": corrector_order}
    host = Host(mixture, "sa-solver", tau=tau, **orders)
    y, d, rate, last = host.y, [host.data(host.y, LAM[0])], 1 + tau**2, len(LAM) - 2
    for n, (lam, end) in enumerate(pairwise(LAM)):
        kept = math.exp(-rate * (end - lam)) * y
        if tau:
            kept = kept + math.exp(-end) * math.sqrt(-math.expm1(-2 * tau**2 * (end - lam))) * next(host.z)
        for order, ahead in ((predictor_order, 0), (corrector_order, 1)):
            if ahead and n == last:
                break
            d += [host.data(y, end)] * ahead
            j0 = max(0, n + 1 + ahead - order)
            nodes = LAM[j0 : n + 1 + ahead]
            weights = [lagrange_integral(nodes, j, lam, end, rate) for j in range(len(nodes))]
            y = kept + sum(w * value for w, value in zip(weights, d[j0:], strict=True))
    host.check(y)


TIGHT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-13}


@pytest.mark.parametrize(
    ("id", "options", "order"),
    [
        ("sde-dpmpp-2m", {"eta": 0.0}, 2),
        ("sde-dpmpp-3m", {"eta": 0.0}, 2),
        ("sde-dpmpp-3m-corrected", {"eta": 0.0}, 3),
        ("sa-solver", {"tau": 0.0}, 4),
        ("sa-solver", {"tau": 0.0, "predictor_order": 2, "corrector_order": 2}, 2),
        ("er-sde-1", {"phi": "ode"}, 1),
        ("er-sde-2", {"phi": "ode"}, 2),
        ("er-sde-3", {"phi": "ode"}, 2),
    ],
)
def test_order_without_noise(id: str, options: dict[str, Any], order: int) -> None:
    """With the noise off they are ODE solvers, of this order from exact starting values."""
    model = load_model("exact:gmm")
    x0 = Noise(0, torch.arange(16), model.shape).latents()

    def exact(t: Tensor) -> Tensor:
        if float(t) == 0.8:
            return x0
        return solve(model, find("rk45"), torch.stack([torch.tensor(0.8, dtype=DOUBLE), t]), x0, options=TIGHT).x

    errors = []
    for steps in (64, 128):
        grid = make_grid("karras", model.process, steps + 3, 0.8, 0.2)
        start = tuple((float(t), exact(t)) for t in grid[:3])
        end = solve(model, find(id), grid[3:], exact(grid[3]), options=options, start=start).x
        errors.append(float((end - exact(grid[-1])).norm(dim=1).median()))
    assert math.log(errors[0] / errors[1]) / math.log(131 / 67) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("sde-dpmpp-2m", {"solver_type": "bh1"}, "midpoint or heun"),
        ("er-sde-2", {"phi": "sde-5"}, "did you mean er-sde-5"),
        ("sa-solver", {"predictor_order": 0}, "at least 1 and 2"),
    ],
)
def test_bad_options_are_refused(id: str, options: dict[str, Any], message: str) -> None:
    model = load_model("exact:gmm")
    x, grid = torch.zeros(1, 2, dtype=DOUBLE), make_grid("logsnr", model.process, 2, 1.0, 1e-3)
    with pytest.raises(UsageError, match=message):
        solve(model, find(id), grid, x, options=options, noise=Noise(0, torch.arange(1), model.shape))


@pytest.mark.parametrize(
    ("id", "options", "eta"),
    [
        ("ddim", {}, 0.0),
        ("ddim", {"eta": 0.5}, 0.5),
        ("sa-solver", {"tau": 0.3}, 0.3),
        ("euler-ancestral", {}, 1.0),
        ("er-sde-2", {"phi": "sde"}, 1.0),
        ("er-sde-2", {"phi": "ode"}, 0.0),
        ("er-sde-2", {}, None),  # its dial changes with σ̂
        ("restart", {}, None),
        ("heun", {}, 0.0),
    ],
)
def test_the_dial_that_rows_carry(id: str, options: dict[str, Any], eta: float | None) -> None:
    assert find(id).eta(options) == eta

"""SDE-DPM-Solver++: exponential multistep methods on the reverse SDE, in the data prediction."""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.process import Process

from ..exponential import phi
from ..facts import Reference, Step, solver
from ..multistep import before
from ..problem import Problem
from ..update import combine

Weigh = Callable[[list[float], list[float]], list[float]]  # of the steps r₁ = h₋₁/h, r₂ = h₋₂/h known, and of `moments`
PAPER = (
    "Lu et al. 2022",
    "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
    "arXiv:2211.01095",
)
K_DIFFUSION = ("Crowson 2022", "k-diffusion", "https://github.com/crowsonkb/k-diffusion")


def multistep(problem: Problem, x: Tensor, grid: Tensor, eta: float, k: int, weigh: Weigh) -> Iterator[Step]:
    """x' = (σ'/σ) e^{−η²h} x + α' Σ w_j D_j + σ' √(1 − e^{−2η²h}) z, with weights of D, D₋₁, … from `weigh`."""
    past, t = before(problem, k), grid.tolist()
    a, weights, c, clock = coefficients(problem.process, tuple(at for at, _ in past), tuple(t), eta, k, weigh)
    history = [problem.denoise(x_before, t_before) for t_before, x_before in reversed(past)]  # the latest first
    for n in range(len(a)):
        history = [problem.denoise(x, t[n]), *history[: k - 1]]
        terms = [(a[n], x), *zip(weights[n], history, strict=True)]
        if c[n]:
            terms.append((c[n], problem.increment(clock[n], clock[n + 1])))
        x = combine(*terms)
        yield t[n + 1], x


@lru_cache(maxsize=64)
def coefficients(
    p: Process, past: tuple[float, ...], times: tuple[float, ...], eta: float, k: int, weigh: Weigh
) -> tuple[list[float], list[list[float]], list[float], list[float]]:
    """What multiplies x, the D and z in each step of a grid, and the clock; the same for every batch."""
    grid = torch.tensor(times, dtype=torch.float64)
    steps, h = torch.diff(p.lam(torch.tensor(past + times, dtype=torch.float64))).tolist(), torch.diff(p.lam(grid))
    a = torch.exp(-(eta**2) * h) * p.sigma(grid[1:]) / p.sigma(grid[:-1])
    c = p.sigma(grid[1:]) * torch.sqrt(-torch.expm1(-2 * eta**2 * h).clamp_max(0))
    alpha, mass, weights = p.alpha(grid[1:]).tolist(), moments((1 + eta**2) * h), []
    for n, now in enumerate(range(len(past), len(steps))):
        ratios = [steps[now - j] / steps[now] for j in range(1, min(k - 1, now) + 1)]
        weights.append([alpha[n] * w for w in weigh(ratios, mass[n])])
    return a.tolist(), weights, c.tolist(), torch.exp(2 * eta**2 * p.lam(grid)).tolist()


def moments(rate: Tensor) -> list[list[float]]:
    """∫₀¹ H e^{−H(1−u)} uʲ du = j! H φ_{j+1}(−H) for j = 0, 1, 2, for each of the rates H (n,)."""
    columns = [math.factorial(j) * rate * phi(j + 1, -rate) for j in range(3)]
    rows: list[list[float]] = torch.stack(columns, 1).tolist()
    return rows


def weigh_first(ratios: list[float], m: list[float]) -> list[float]:
    return m[:1]


def weigh_midpoint(ratios: list[float], m: list[float]) -> list[float]:
    share = 0.5 / ratios[0] if ratios else 0.0
    return [m[0] * (1 + share), -m[0] * share] if ratios else m[:1]


def weigh_heun(ratios: list[float], m: list[float]) -> list[float]:
    return [m[0] + m[1] / ratios[0], -m[1] / ratios[0]] if ratios else m[:1]


def weigh_taylor(ratios: list[float], m: list[float], curvature: float) -> list[float]:
    """m₀ D + m₁ d₁ + `curvature` m₂ d₂, where D(u) = D + d₁ u + d₂ u² for λ + uh passes through the last three points."""
    if len(ratios) < 2:
        return weigh_heun(ratios, m)
    r1, r2 = ratios
    d2 = [1 / (r1 * (r1 + r2)), -1 / (r1 * r2), 1 / (r2 * (r1 + r2))]
    d1 = [1 / r1 + r1 * d2[0], -1 / r1 + r1 * d2[1], r1 * d2[2]]
    return [
        m[0] * first + m[1] * slope + curvature * m[2] * bend
        for first, slope, bend in zip((1, 0, 0), d1, d2, strict=True)
    ]


def weigh_half(ratios: list[float], m: list[float]) -> list[float]:
    return weigh_taylor(ratios, m, 0.5)


def weigh_exact(ratios: list[float], m: list[float]) -> list[float]:
    return weigh_taylor(ratios, m, 1.0)


@solver("sde-dpmpp-1", kind="sde", order=1, strong=1.0, reference=Reference(*PAPER, "eq. 17"))
def sde_dpmpp_1(problem: Problem, x: Tensor, grid: Tensor, *, eta: float = 1.0) -> Iterator[Step]:
    """SDE-DPM-Solver++1: the reverse SDE exactly with D held, x' = (σ'/σ) e^{−η²h} x + α'(1 − e^{−H}) D + σ'√(1 − e^{−2η²h}) z.

    H = (1 + η²) h. `eta` is the noise dial of the reverse SDE; the libraries have η = 1. Its clock is e^{2η²λ}.
    """
    return multistep(problem, x, grid, eta, 1, weigh_first)


@solver(
    "sde-dpmpp-2m",
    kind="sde",
    order=2,
    strong=1.0,
    drift=2,
    reference=Reference(*PAPER, "SDE-DPM-Solver++(2M), eq. 18"),
    aliases=("sample_dpmpp_2m_sde", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "DPM++ 2M SDE", "DPM++ 2M SDE Karras"),
)
def sde_dpmpp_2m(
    problem: Problem, x: Tensor, grid: Tensor, *, eta: float = 1.0, solver_type: str = "midpoint"
) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M): the integral of D is (1 − e^{−H})[D + (D − D₋₁)/2r], H = (1 + η²)h and r = h₋₁/h.

    `solver_type` heun has the exact integral of the line through D₋₁ and D instead. `eta` is the noise dial: k-diffusion's
    eta is its square, diffusers' `sde-dpmsolver++` has η = 1. The clock is e^{2η²λ}.
    """
    kinds = {"midpoint": weigh_midpoint, "heun": weigh_heun}
    if solver_type not in kinds:
        raise UsageError(f"sde-dpmpp-2m: solver_type must be midpoint or heun, got {solver_type!r}")
    return multistep(problem, x, grid, eta, 2, kinds[solver_type])


@solver(
    "sde-dpmpp-3m",
    kind="sde",
    order=2,
    claimed=3,
    strong=1.0,
    drift=2,
    reference=Reference(*K_DIFFUSION, "sample_dpmpp_3m_sde"),
    aliases=("sample_dpmpp_3m_sde", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "DPM++ 3M SDE", "DPM++ 3M SDE Karras"),
)
def sde_dpmpp_3m(problem: Problem, x: Tensor, grid: Tensor, *, eta: float = 1.0) -> Iterator[Step]:
    """SDE-DPM-Solver++(3M) as k-diffusion has it: its second-derivative term is half of the exact one.

    `eta` is the noise dial (k-diffusion's eta is its square); the clock is e^{2η²λ}. diffusers' order 3 is another map:
    there the same coefficient has a wrong sign, (1 − e^{−2h} − 2h)/(2h)² − ½ for + ½, which leaves order 1.
    """
    return multistep(problem, x, grid, eta, 3, weigh_half)


@solver(
    "sde-dpmpp-3m-corrected",
    kind="sde",
    order=2,
    strong=1.0,
    drift=3,
    reference=Reference(*PAPER, "the integral of its eq. 14 with exact coefficients"),
)
def sde_dpmpp_3m_corrected(problem: Problem, x: Tensor, grid: Tensor, *, eta: float = 1.0) -> Iterator[Step]:
    """SDE-DPM-Solver++(3M) with the exact integral of the parabola through the last three D: order 3 where η = 0.

    `eta` is the noise dial; the clock is e^{2η²λ}.
    """
    return multistep(problem, x, grid, eta, 3, weigh_exact)

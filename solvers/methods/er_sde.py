"""ER-SDE-Solver-1, 2 and 3: extended reverse-time SDEs, whose noise is a function φ(σ̂), in the data prediction."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from scorebench.reference_models.errors import unknown

from ..exponential import NODES, WEIGHTS
from ..facts import Reference, Step, solver
from ..multistep import before, with_past
from ..problem import Problem
from ..update import combine

PAPER = (
    "Cui et al. 2023",
    "ER-SDE-Solver: Elucidating the Solution Space of Extended Reverse-Time SDE for Diffusion Models",
    "arXiv:2309.06169",
)
PHI: dict[str, Callable[[Tensor], Tensor]] = {  # the paper's noise scale functions
    "ode": lambda s: s,
    "sde": lambda s: s**2,
    "er-sde-5": lambda s: s * (torch.exp(s**0.3) + 10),
}


def er_sde(problem: Problem, x: Tensor, grid: Tensor, phi: str, order: int) -> Iterator[Step]:
    """y' = r y + (1 − r) D + m₁ D' + ½ m₂ D'' + √(σ̂'² − r²σ̂²) z for y = x/α, with r = φ(σ̂')/φ(σ̂).

    m_j = (σ̂' − σ̂)ʲ + j φ(σ̂') ∫ (s − σ̂)^{j−1}/φ(s) ds from σ̂' to σ̂, by Gauss's rule in log s; D' and D'' are divided
    differences of the last values of D, D' the backward one.
    """
    if phi not in PHI:
        raise unknown(f"phi of er-sde-{order}", phi, PHI)
    p, past, t, scale = problem.process, before(problem, order), grid.tolist(), PHI[phi]
    s, alpha = p.sigma_hat(grid), p.alpha(grid)
    r = scale(s[1:]) / scale(s[:-1])
    m1, m2 = moments(s, scale)
    a, b = (alpha[1:] / alpha[:-1] * r).tolist(), [(alpha[1:] * m).tolist() for m in (1 - r, m1, 0.5 * m2)]
    c = (alpha[1:] * torch.sqrt((s[1:] ** 2 - (r * s[:-1]) ** 2).clamp_min(0))).tolist()
    clock = ((s / scale(s)) ** 2).tolist()
    nodes = p.sigma_hat(with_past(past, grid)).tolist()
    history = [problem.denoise(x_before, t_before) for t_before, x_before in past]
    for n in range(len(t) - 1):
        history = [*history[max(0, len(history) - order + 1) :], problem.denoise(x, t[n])]
        now = len(past) + n + 1
        derivatives = divided_differences(nodes[now - len(history) : now])
        terms = [(a[n], x)]
        for j, d in enumerate(history):
            terms.append((sum(b[k][n] * row[j] for k, row in enumerate(derivatives)), d))
        if c[n] and phi != "ode":
            terms.append((c[n], problem.increment(clock[n], clock[n + 1])))
        x = combine(*terms)
        yield t[n + 1], x


def dial(phi: str) -> float | None:
    """η of a noise scale function, where it does not change with σ̂."""
    return {"ode": 0.0, "sde": 1.0}.get(phi)


def moments(s: Tensor, scale: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """m₁ and m₂ (n,) of the steps of s = σ̂ (n + 1,)."""
    start, end = torch.log(s[:-1, None]), torch.log(s[1:, None])
    at = torch.exp(end + (start - end) * torch.from_numpy(NODES))
    mass = (start - end) * torch.from_numpy(WEIGHTS) * at / scale(at)  # ds/φ(s)
    gap = torch.diff(s)
    first, second = mass.sum(1), (mass * (at - s[:-1, None])).sum(1)
    return gap + scale(s[1:]) * first, gap**2 + 2 * scale(s[1:]) * second


def divided_differences(nodes: list[float]) -> list[list[float]]:
    """Rows of weights on D, oldest first: of D itself, of its first and second derivative, as far as there are nodes."""
    unit = [[float(i == j) for j in range(len(nodes))] for i in range(len(nodes))]
    rows = [unit[-1]]
    for order in range(1, len(nodes)):
        unit = [
            [order * (q - p) / (nodes[i + order] - nodes[i]) for p, q in zip(unit[i], unit[i + 1], strict=True)]
            for i in range(len(unit) - 1)
        ]
        rows.append(unit[-1])
    return rows


@solver("er-sde-1", kind="sde", order=1, strong=1.0, dial=dial, reference=Reference(*PAPER, "Alg. 1"))
def er_sde_1(problem: Problem, x: Tensor, grid: Tensor, *, phi: str = "er-sde-5") -> Iterator[Step]:
    """ER-SDE-Solver-1: y' = r y + (1 − r) D + √(σ̂'² − r²σ̂²) z for y = x/α, with r = φ(σ̂')/φ(σ̂).

    `phi` is σ̂ (`ode`), σ̂² (`sde`, the reverse SDE) or σ̂(e^{σ̂^0.3} + 10) (`er-sde-5`, the paper's choice); the noise dial
    is η² = σ̂ d log φ/dσ̂ − 1, and the clock (σ̂/φ)².
    """
    return er_sde(problem, x, grid, phi, 1)


@solver("er-sde-2", kind="sde", order=2, strong=1.0, drift=2, dial=dial, reference=Reference(*PAPER, "Alg. 2"))
def er_sde_2(problem: Problem, x: Tensor, grid: Tensor, *, phi: str = "er-sde-5") -> Iterator[Step]:
    """ER-SDE-Solver-2: `er-sde-1` with D' by a backward difference; its integral is exact, not a sum of 100 rectangles."""
    return er_sde(problem, x, grid, phi, 2)


@solver(
    "er-sde-3",
    kind="sde",
    order=2,
    claimed=3,
    strong=1.0,
    drift=2,
    dial=dial,
    reference=Reference(*PAPER, "Alg. 3"),
    aliases=("er_sde", "sample_er_sde"),
)
def er_sde_3(problem: Problem, x: Tensor, grid: Tensor, *, phi: str = "er-sde-5") -> Iterator[Step]:
    """ER-SDE-Solver-3: with D'' too; D' stays the backward difference, which leaves order 2 whatever the integrals."""
    return er_sde(problem, x, grid, phi, 3)

"""Exponential Runge–Kutta methods in the data prediction: tableaux of φ functions, and one loop."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..exponential import phi
from ..facts import Method, Reference, Step, solver
from ..problem import Problem
from ..update import combine

Entry = tuple[tuple[float, int, float], ...]  # Σ w · φ_k(c z) over (w, k, c)


@dataclass(frozen=True)
class PhiTableau:
    """Nodes c (c₁ = 0), rows a of the later stages and weights b, both without their first column.

    The first column follows from consistency: a_i1 = c_i φ₁(c_i z) − Σ a_ij and b_1 = φ₁(z) − Σ b_j.
    """

    c: tuple[float, ...]
    a: tuple[tuple[Entry, ...], ...]  # row i has i − 1 entries; the first two stages have none
    b: tuple[Entry, ...]

    def __post_init__(self) -> None:
        if self.c[0] != 0 or len(self.a) != len(self.c) or len(self.b) != len(self.c) - 1:
            raise ValueError(f"tableau of φ: {len(self.c)} nodes need as many rows and one weight less")
        if any(len(row) != max(0, i - 1) for i, row in enumerate(self.a)):
            raise ValueError("tableau of φ: row i must have i − 1 entries beside its first")

    def weights(self, row: tuple[Entry, ...], c: float, z: Tensor) -> list[list[float]]:
        """The entries of one row, its first column with them, for steps z (n,)."""
        later = [sum((w * phi(k, at * z) for w, k, at in entry), torch.zeros_like(z)) for entry in row]
        return torch.stack([c * phi(1, c * z) - sum(later), *later], 1).tolist()


HALF, ONE = 0.5, 1.0
COX_MATTHEWS_2 = PhiTableau((0.0, 1.0), ((), ()), (((1.0, 2, ONE),),))
KROGSTAD = PhiTableau(
    (0.0, 0.5, 0.5, 1.0),
    ((), (), (((1.0, 2, HALF),),), ((), ((2.0, 2, ONE),))),
    (((2.0, 2, ONE), (-4.0, 3, ONE)), ((2.0, 2, ONE), (-4.0, 3, ONE)), ((-1.0, 2, ONE), (4.0, 3, ONE))),
)


def refined_2(c2: float) -> PhiTableau:
    """b₂ = φ₂/c₂: the two stiff order conditions of order 2."""
    return PhiTableau((0.0, c2), ((), ()), (((1 / c2, 2, ONE),),))


def refined_3(c2: float, c3: float) -> PhiTableau:
    """The stiff order conditions of order 3, whose last one, 2(γc₂ + c₃) = 3(γc₂² + c₃²), holds in its weak form."""
    gamma = (3 * c3**2 - 2 * c3) / (c2 * (2 - 3 * c2))
    share = 1 / (gamma * c2 + c3)
    a32 = ((gamma * c2, 2, c2), (c3**2 / c2, 2, c3))
    return PhiTableau((0.0, c2, c3), ((), (), (a32,)), (((gamma * share, 2, ONE),), ((share, 2, ONE),)))


def exponential_runge_kutta(problem: Problem, x: Tensor, grid: Tensor, tableau: PhiTableau) -> Iterator[Step]:
    """d(x/α)/dλ = −x/α + D, the linear part exactly: u_i = (σ_i/σ) x + α_i h Σ_j a_ij(−h) D_j, x' likewise with b."""
    p, (c, a) = problem.process, (tableau.c, tableau.a)
    lam = p.lam(grid)
    h = torch.diff(lam)
    t = p.t_of_lam(lam[:-1, None] + h[:, None] * torch.tensor(c, dtype=torch.float64))  # (n, stages)
    t[:, 0], ends = grid[:-1], grid[1:]
    for i in range(1, len(c)):
        t[:, i] = ends if c[i] == 1 else t[:, i]
    kept, moved = (p.sigma(t) / p.sigma(grid[:-1, None])).tolist(), (p.alpha(t) * h[:, None]).tolist()
    kept_end, moved_end = (p.sigma(ends) / p.sigma(grid[:-1])).tolist(), (p.alpha(ends) * h).tolist()
    rows = [tableau.weights(row, at, -h) for row, at in zip(a, c, strict=True)]
    last = tableau.weights(tableau.b, 1.0, -h)
    times = t.tolist()
    for n, end in enumerate(ends.tolist()):
        d = [problem.denoise(x, times[n][0])]
        for i in range(1, len(c)):
            u = combine((kept[n][i], x), *((moved[n][i] * w, dj) for w, dj in zip(rows[i][n], d, strict=True)))
            d.append(problem.denoise(u, times[n][i]))
        x = combine((kept_end[n], x), *((moved_end[n] * w, dj) for w, dj in zip(last[n], d, strict=True)))
        yield end, x


def method(tableau: PhiTableau, doc: str) -> Method:
    """The generator function of one tableau."""

    def integrate(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
        return exponential_runge_kutta(problem, x, grid, tableau)

    integrate.__doc__ = doc
    return integrate


COX = Reference("Cox & Matthews 2002", "Exponential time differencing for stiff systems", "doi:10.1006/jcph.2002.6995")
KROG = Reference(
    "Krogstad 2005", "Generalized integrating factor methods for stiff PDEs", "doi:10.1016/j.jcp.2004.08.006"
)
RES = Reference(
    "Zhang et al. 2023",
    "Improved Order Analysis and Design of Exponential Integrator for Diffusion Models Sampling",
    "arXiv:2308.02157",
    "single-step schemes of orders 2 and 3; the tableaux are Hochbruck & Ostermann 2005, eq. 5.3 and 5.8",
)

solver("etd-rk2", order=2, calls_per_step=2, reference=COX, aliases=("exp_heun_2_x0", "sample_exp_heun_2_x0"))(
    method(COX_MATTHEWS_2, "ETD-RK2: exponential Heun in the data prediction, stages at both ends of the step.")
)
solver("etd-rk4", order=4, calls_per_step=4, reference=KROG)(
    method(KROGSTAD, "ETD-RK4 of Krogstad (ETDRK4-B) in the data prediction: four stages at c = 0, ½, ½, 1.")
)


@solver("res-2s", order=2, calls_per_step=2, reference=RES, aliases=("res_2s", "RES singlestep"))
def res_2s(problem: Problem, x: Tensor, grid: Tensor, *, c2: float = 0.5) -> Iterator[Step]:
    """RES, two stages: b₁ = φ₁ − φ₂/c₂ and b₂ = φ₂/c₂ on D and D(u), u at c₂ of the step in λ.

    DPM-Solver++(2S) has φ₁/(2c₂) in place of φ₂/c₂: the classical but not the stiff condition of order 2.
    """
    return exponential_runge_kutta(problem, x, grid, refined_2(c2))


@solver("res-3s", order=3, calls_per_step=3, reference=RES, aliases=("res_3s",))
def res_3s(problem: Problem, x: Tensor, grid: Tensor, *, c2: float = 0.5, c3: float = 1.0) -> Iterator[Step]:
    """RES, three stages: b₂ = γφ₂/(γc₂ + c₃), b₃ = φ₂/(γc₂ + c₃), γ = (3c₃² − 2c₃) / (c₂(2 − 3c₂))."""
    return exponential_runge_kutta(problem, x, grid, refined_3(c2, c3))

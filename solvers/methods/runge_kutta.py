"""Explicit Runge–Kutta methods: a tableau, a variable of integration, and one loop."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from scorebench.reference_models.process import Process

from ..facts import Method, Reference, Step, solver
from ..problem import Problem
from ..update import combine


@dataclass(frozen=True)
class Tableau:
    """Butcher's a (lower triangle, one row per stage), b and c; ValueError unless explicit and consistent."""

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.a) != len(self.b) or len(self.b) != len(self.c):
            raise ValueError(
                f"tableau: {len(self.a)} rows of a, {len(self.b)} of b and {len(self.c)} of c must be equal"
            )
        for i, (row, c) in enumerate(zip(self.a, self.c, strict=True)):
            if len(row) != i or abs(sum(row) - c) > 1e-14:
                raise ValueError(f"tableau: row {i} of a must have {i} entries that sum to c[{i}] = {c}, got {row}")
        if abs(sum(self.b) - 1) > 1e-14:
            raise ValueError(f"tableau: b must sum to 1, got {sum(self.b)}")


@dataclass(frozen=True)
class Variable:
    """A variable s of integration with x = scale · y and dy/ds = slope, so that the ODE is dy/ds = slope(x, t)."""

    of_t: Callable[[Process, Tensor], Tensor]
    to_t: Callable[[Process, Tensor], Tensor]
    scale: Callable[[Process, Tensor], Tensor]
    slope: Callable[[Problem, Tensor, float], Tensor]


TIME = Variable(lambda p, t: t, lambda p, s: s, lambda p, t: torch.ones_like(t), Problem.velocity)
SIGMA_HAT = Variable(Process.sigma_hat, Process.t_of_sigma_hat, Process.alpha, Problem.eps)  # d(x/α)/dσ̂ = ε

EULER = Tableau(a=((),), b=(1.0,), c=(0.0,))
HEUN = Tableau(a=((), (1.0,)), b=(0.5, 0.5), c=(0.0, 1.0))
MIDPOINT = Tableau(a=((), (0.5,)), b=(0.0, 1.0), c=(0.0, 0.5))
BOGACKI_SHAMPINE = Tableau(a=((), (0.5,), (0.0, 0.75)), b=(2 / 9, 1 / 3, 4 / 9), c=(0.0, 0.5, 0.75))
CLASSICAL = Tableau(a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), b=(1 / 6, 1 / 3, 1 / 3, 1 / 6), c=(0.0, 0.5, 0.5, 1.0))


def runge_kutta(problem: Problem, x: Tensor, grid: Tensor, tableau: Tableau, variable: Variable) -> Iterator[Step]:
    """y_{n+1} = y_n + h Σ b_j k_j, k_j = slope(y_n + h Σ a_jl k_l, s_n + c_j h), with y = x / scale."""
    ends = grid.tolist()
    for end, first, later, last in zip(
        ends[1:], *coefficients(problem.process, tuple(ends), tableau, variable), strict=True
    ):
        k = [variable.slope(problem, x, first)]
        for t, kept, moved in later:
            k.append(variable.slope(problem, combine((kept, x), *zip(moved, k, strict=True)), t))
        kept, moved = last
        x = combine((kept, x), *zip(moved, k, strict=True))
        yield end, x


Weights = tuple[float, list[float]]  # of x and of the slopes so far
Stage = tuple[float, float, list[float]]  # the time, and the weights of x and of the slopes so far


@lru_cache(maxsize=64)
def coefficients(
    p: Process, times: tuple[float, ...], tableau: Tableau, variable: Variable
) -> tuple[list[float], list[list[Stage]], list[Weights]]:
    """For each step of a grid the time of its first slope, its later stages, and its end; the same for every batch."""
    grid = torch.tensor(times, dtype=torch.float64)
    s, c = variable.of_t(p, grid), torch.tensor(tableau.c, dtype=torch.float64)
    h = torch.diff(s)
    t = variable.to_t(p, s[:-1, None] + h[:, None] * c)  # (n, stages)
    t[:, 0] = grid[:-1]
    scale = variable.scale(p, grid)
    kept, moved = variable.scale(p, t) / scale[:-1, None], variable.scale(p, t) * h[:, None]
    later = [
        [(at, of_x, [of_k * w for w in row]) for at, of_x, of_k, row in list(zip(*step, tableau.a, strict=True))[1:]]
        for step in zip(t.tolist(), kept.tolist(), moved.tolist(), strict=True)
    ]
    ends = zip((scale[1:] / scale[:-1]).tolist(), (scale[1:] * h).tolist(), strict=True)
    return list(times[:-1]), later, [(of_x, [of_k * w for w in tableau.b]) for of_x, of_k in ends]


def method(tableau: Tableau, variable: Variable, doc: str) -> Method:
    """The generator function of one tableau and variable."""

    def integrate(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
        return runge_kutta(problem, x, grid, tableau, variable)

    integrate.__doc__ = doc
    return integrate


SONG = Reference("Song et al. 2021", "Score-Based Generative Modeling through SDEs", "arXiv:2011.13456", "eq. 13")
KARRAS = Reference(
    "Karras et al. 2022",
    "Elucidating the Design Space of Diffusion-Based Generative Models",
    "arXiv:2206.00364",
    "Alg. 1",
)

RUNGE = Reference("Runge 1895", "Über die numerische Auflösung von Differentialgleichungen", "doi:10.1007/BF01446807")
KUTTA = Reference(
    "Kutta 1901", "Beitrag zur näherungsweisen Integration totaler Differentialgleichungen", "Z. Math. Phys. 46, 435"
)
BOGACKI = Reference(
    "Bogacki & Shampine 1989", "A 3(2) pair of Runge-Kutta formulas", "doi:10.1016/0893-9659(89)90079-7"
)
METHODS: tuple[tuple[str, str, Tableau, int, Reference, Reference], ...] = (  # id, name, a b c, order, in σ̂, in t
    ("euler", "Euler's method", EULER, 1, KARRAS, SONG),
    ("heun", "Heun's method", HEUN, 2, KARRAS, SONG),
    ("midpoint", "The explicit midpoint method", MIDPOINT, 2, RUNGE, RUNGE),
    ("bs3", "The third-order method of Bogacki and Shampine", BOGACKI_SHAMPINE, 3, BOGACKI, BOGACKI),
    ("rk4", "The classical fourth-order Runge–Kutta method", CLASSICAL, 4, KUTTA, KUTTA),
)
OTHER_NAMES = {
    "euler": ("EulerDiscreteScheduler", "EDMEulerScheduler", "sample_euler"),
    "heun": ("HeunDiscreteScheduler", "sample_heun"),
}
REMARKS = {"euler": ", the same map as DDIM", "heun": ", the deterministic EDM sampler"}

for _id, _name, _tableau, _order, _in_sigma_hat, _in_t in METHODS:
    _calls = len(_tableau.b)
    solver(
        _id,
        order=_order,
        calls_per_step=_calls,
        grid="karras",
        reference=_in_sigma_hat,
        aliases=OTHER_NAMES.get(_id, ()),
    )(method(_tableau, SIGMA_HAT, f"{_name} in σ̂ = σ/α{REMARKS.get(_id, '')}."))
    solver(f"{_id}-t", order=_order, calls_per_step=_calls, grid="time_uniform", reference=_in_t)(
        method(_tableau, TIME, f"{_name} in t on the probability-flow ODE.")
    )

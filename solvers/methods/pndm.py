"""Pseudo numerical methods: DDIM's step with ε replaced by Adams and Bashforth's combination for equal steps.

The constants belong to equal steps, of t for PNDM and of σ̂ for iPNDM; on other grids the methods run and are of order 2.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor

from scorebench.reference_models.process import Process

from ..facts import Reference, Step, solver
from ..multistep import EPS_SIGMA_HAT, before, method
from ..problem import Problem
from ..update import combine

PNDM = Reference("Liu et al. 2022", "Pseudo Numerical Methods for Diffusion Models on Manifolds", "arXiv:2202.09778")
IPNDM = Reference(
    "Zhang & Chen 2023",
    "Fast Sampling of Diffusion Models with Exponential Integrator",
    "arXiv:2204.13902",
    "appendix H.2",
)
ADAMS_BASHFORTH = (
    (1.0,),
    (-1 / 2, 3 / 2),
    (5 / 12, -16 / 12, 23 / 12),
    (-9 / 24, 37 / 24, -59 / 24, 55 / 24),
)  # the oldest first


def transfer(p: Process, s: Tensor, t: Tensor) -> list[tuple[float, float]]:
    """DDIM's step from s (n,) to t (n,): the coefficients of x and ε for each."""
    alpha = p.alpha(t)
    return list(zip((alpha / p.alpha(s)).tolist(), (alpha * (p.sigma_hat(t) - p.sigma_hat(s))).tolist(), strict=True))


def step(x: Tensor, coefficients: tuple[float, float], weights: Sequence[float], eps: Sequence[Tensor]) -> Tensor:
    """φ(x, Σ w_j ε_j), φ being DDIM's step."""
    a, b = coefficients
    return combine((a, x), *((b * w, e) for w, e in zip(weights, eps, strict=True)))


@solver(
    "pndm",
    order=2,
    grid="time_uniform",
    reference=PNDM,
    aliases=("PNDMScheduler", "F-PNDM"),
    extra_calls=9,
    least_steps=3,
)
def pndm(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """F-PNDM: x' = φ(x, (55ε − 59ε₋₁ + 37ε₋₂ − 9ε₋₃)/24), φ being DDIM's step; the first three by pseudo Runge–Kutta.

    Those evaluate at the step's middle in t and cost 4 calls each: n steps cost n + 9. The paper steps by a fixed stride of
    a trained discrete time; in continuous t that is the grid uniform in t, and nothing forbids another.
    """
    p, t = problem.process, grid.tolist()
    middle = 0.5 * (grid[:-1] + grid[1:])
    whole, half, mid = transfer(p, grid[:-1], grid[1:]), transfer(p, grid[:-1], middle), middle.tolist()
    history = [problem.eps(x_before, t_before) for t_before, x_before in before(problem, 4)]
    for n in range(len(t) - 1):
        eps = [*history, problem.eps(x, t[n])]
        if len(eps) == 4:
            end = step(x, whole[n], ADAMS_BASHFORTH[3], eps)
        else:
            e1 = eps[-1]
            e2 = problem.eps(step(x, half[n], (1.0,), (e1,)), mid[n])
            e3 = problem.eps(step(x, half[n], (1.0,), (e2,)), mid[n])
            e4 = problem.eps(step(x, whole[n], (1.0,), (e3,)), t[n + 1])
            end = step(x, whole[n], (1 / 6, 1 / 3, 1 / 3, 1 / 6), (e1, e2, e3, e4))
        x, history = end, eps[-3:]
        yield t[n + 1], x


@solver("plms", order=2, grid="time_uniform", reference=PNDM, extra_calls=1)
def plms(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """PLMS: F-PNDM's multistep formula that starts by itself: a step with (ε + ε(x'))/2, then Adams–Bashforth 2 and 3.

    The first step is made twice, as latent diffusion and diffusers (`skip_prk_steps`) do it: n steps cost n + 1 calls.
    """
    t, coefficients = grid.tolist(), transfer(problem.process, grid[:-1], grid[1:])
    history = [problem.eps(x_before, t_before) for t_before, x_before in before(problem, 4)]
    for n in range(len(t) - 1):
        eps = [*history, problem.eps(x, t[n])]
        if len(eps) == 1:
            again = problem.eps(step(x, coefficients[n], (1.0,), eps), t[n + 1])
            x = step(x, coefficients[n], (0.5, 0.5), (eps[0], again))
        else:
            x = step(x, coefficients[n], ADAMS_BASHFORTH[len(eps) - 1], eps)
        history = eps[-3:]
        yield t[n + 1], x


@solver("ipndm", order=2, claimed=4, grid="karras", reference=IPNDM, aliases=("IPNDMScheduler", "sample_ipndm"))
def ipndm(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
    """iPNDM: x' = φ(x, (55ε − 59ε₋₁ + 37ε₋₂ − 9ε₋₃)/24), φ being DDIM's step, with Adams–Bashforth 1, 2, 3 before that.

    Fourth order needs steps equal in σ̂, which no grid in use has.
    """
    t, coefficients = grid.tolist(), transfer(problem.process, grid[:-1], grid[1:])
    history = [problem.eps(x_before, t_before) for t_before, x_before in before(problem, 4)]
    for n in range(len(t) - 1):
        eps = [*history, problem.eps(x, t[n])]
        x, history = step(x, coefficients[n], ADAMS_BASHFORTH[len(eps) - 1], eps), eps[-3:]
        yield t[n + 1], x


solver("ipndm-v", order=4, self_started=2, grid="karras", reference=IPNDM, aliases=("sample_ipndm_v",))(
    method(
        4,
        EPS_SIGMA_HAT,
        "iPNDM_v: iPNDM with Adams and Bashforth's coefficients for the steps in σ̂ as they are; as `lms`.",
    )
)

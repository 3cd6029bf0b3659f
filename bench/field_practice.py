"""How the field takes likelihoods, as methods that the likelihood's driver runs beside ours; a suite names them `peer:NAME`.

Each is its package's own integrator, with one error norm and one step for the whole batch, so that what an image costs, and
its result, depend on its company: such a method is no solver of ours. The traces and probes are those of all solvers.
score_sde makes a second network call for each Jacobian product, which is not held against it here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError, unknown
from scorebench.solvers.facts import Reference, SolverInfo, Step
from scorebench.solvers.problem import Problem
from scorebench.solvers.traced_problem import AugmentedProblem, integrand

PREFIX = "peer:"


def scipy_rk45(problem: Problem, x: Tensor, grid: Tensor, *, rtol: float = 1e-5, atol: float = 1e-5) -> Iterator[Step]:
    """scipy's RK45 in t: all images and all integrals as one vector, in float64, under one error norm."""
    from scipy.integrate import solve_ivp  # which takes half a second to import

    def slope(t: float, flat: np.ndarray) -> np.ndarray:
        return np.asarray(problem.velocity(torch.from_numpy(flat).reshape(x.shape).to(x), t).flatten().double().numpy())

    span = float(grid[0]), float(grid[-1])
    solved = solve_ivp(slope, span, x.flatten().double().numpy(), "RK45", rtol=rtol, atol=atol)
    yield span[1], torch.from_numpy(solved.y[:, -1]).reshape(x.shape)


def torchdiffeq_dopri5(
    problem: Problem, x: Tensor, grid: Tensor, *, rtol: float = 1e-4, atol: float = 1e-4
) -> Iterator[Step]:
    """torchdiffeq's dopri5 in σ̂: x/α and the integral as a pair, whose error norm is the larger of the two."""
    if not isinstance(problem, AugmentedProblem):
        raise UsageError("peer:k-diffusion-dopri5 takes likelihoods, nothing else")
    p, model = problem.process, problem.model

    def slope(s: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        t = p.t_of_sigma_hat(s.double())
        d, trace = problem.traced((p.alpha(t) * state[0]).to(x), t)
        return (state[0] - d) / s.to(x), (integrand(model, t, trace) / s).to(x)

    alpha, start = p.alpha(grid), x[:, :-1].reshape(-1, *model.shape)
    pair = (start / alpha[0]).to(x), x[:, -1]
    odeint = import_module("torchdiffeq").odeint
    y, integral = odeint(slope, pair, p.sigma_hat(grid[[0, -1]]), method="dopri5", rtol=rtol, atol=atol)
    yield float(grid[-1]), torch.cat([(alpha[-1] * y[-1]).to(x).flatten(1), integral[-1][:, None]], 1)


@dataclass(frozen=True)
class Peer:
    """A practice, by default with the tolerance at which the field uses it, and the package that integrates."""

    info: SolverInfo
    package: str

    @property
    def found(self) -> str:
        """The package and its version, which determine a result as our own source does."""
        try:
            return f"{self.package} {version(self.package)}"
        except PackageNotFoundError:
            return ""

    @property
    def missing(self) -> str:
        """Why it cannot run here; empty where it can."""
        return "" if self.found else f"{self.package} is not installed: `make peers` installs it"


def _peer(
    name: str, method: Callable[..., Iterator[Step]], tolerance: float, package: str, reference: Reference
) -> Peer:
    options = {"rtol": tolerance, "atol": tolerance}
    return Peer(SolverInfo(PREFIX + name, method, "ode", 5, 5, None, "time_uniform", reference, (), options), package)


PEERS = {
    peer.info.id: peer
    for peer in (
        _peer("score_sde-rk45", scipy_rk45, 1e-5, "scipy", Reference(
            "Song et al. 2021", "Score-Based Generative Modeling through Stochastic Differential Equations",
            "arXiv:2011.13456", "section D.2; likelihood.py of the published code",
        )),
        _peer("k-diffusion-dopri5", torchdiffeq_dopri5, 1e-4, "torchdiffeq", Reference(
            "Crowson 2022", "k-diffusion", "https://github.com/crowsonkb/k-diffusion", "log_likelihood",
        )),
    )
}  # fmt: skip


def is_peer(name: str) -> bool:
    return name.startswith(PREFIX)


def find_peer(name: str) -> Peer:
    """The practice of that id; UsageError with the nearest otherwise."""
    if name not in PEERS:
        raise unknown("peer", name, PEERS)
    return PEERS[name]

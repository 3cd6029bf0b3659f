"""log p of the probability-flow ODE by any deterministic solver, walked from data to noise.

With q = d − α tr(∂D/∂x), log p(x_0) = log p_T(x_T) + d log(α_T/α_0) + ∫ q dλ from λ_T up to λ_0. A fixed-step method runs
unmodified: q is taken with the network call that it makes at each point it accepts, or predicts where its facts say so, and
a cubic spline in λ integrates it; where a method makes no call, one more is made. An adaptive method carries the integral
as one more column of its state, under its own error control.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import ExactModel, Model
from scorebench.reference_models.parameterisation import broadcast

from .facts import SolverInfo, Step
from .options import check_options
from .problem import Count, Problem


@dataclass
class TracedProblem(Problem):
    """A problem whose denoiser also gives tr(∂D/∂x): closed form without `probes`, else Hutchinson's estimate with them."""

    probes: Tensor | None = None  # (b, *d)
    awaited: Step | None = field(default=None, repr=False)  # the accepted point whose network call has not been seen
    predicted: set[float] = field(default_factory=set, repr=False)  # times whose call is made at a predicted point
    seen: list[tuple[float, Tensor]] = field(default_factory=list, repr=False)  # (t, tr ∂D/∂x (b,)) at accepted points

    def __getitem__(self, rows: Tensor) -> "TracedProblem":
        part = super().__getitem__(rows)
        assert isinstance(part, TracedProblem)
        part.probes = None if self.probes is None else self.probes[rows]
        return part

    def traced(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """D (b, *d) and tr ∂D/∂x (b,) from one network call, and one vector-Jacobian product where there are probes."""
        if self.probes is None:
            assert isinstance(self.model, ExactModel)
            return super().denoise(x, t), self.model.denoise_trace(x, torch.as_tensor(t, dtype=torch.float64))
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            d = super().denoise(at, t)
            (product,) = torch.autograd.grad((d * self.probes).sum(), at)
        self.count.vjps += 1
        return d.detach(), (product * self.probes).flatten(1).sum(1)

    def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
        if self.predicted:
            wanted = float(t) in self.predicted
        else:
            wanted = self.awaited is not None and x is self.awaited[1] and bool(t == self.awaited[0])
        if not wanted:
            return super().denoise(x, t)
        d, trace = self.traced(x, t)
        self.seen.append((float(t), trace.double().cpu()))
        self.predicted.discard(float(t))
        self.awaited = None
        return d


class AugmentedProblem(TracedProblem):
    """The state (b, d + 1): x flattened, and the running integral of the likelihood's integrand over t."""

    def velocity(self, x: Tensor, t: float | Tensor) -> Tensor:
        at = x[:, :-1].reshape(-1, *self.model.shape)
        t = torch.as_tensor(t, dtype=torch.float64)
        p = self.process
        half = 0.5 * p.g2(t) / p.sigma(t) ** 2  # −dλ/dt
        d, trace = self.traced(at, t)
        v = broadcast(p.f(t) + half, at) * at - broadcast(half * p.alpha(t), at) * d
        column = (half * integrand(self.model, t, trace.double().cpu())).to(x)
        return torch.cat([v.flatten(1), column[:, None]], 1)

    def eps(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The ε of which `velocity` is f x + (g²/2σ) ε, for the column too: methods in ε carry the integral as they do x."""
        t = torch.as_tensor(t, dtype=torch.float64)
        p = self.process
        return broadcast(2 * p.sigma(t) / p.g2(t), x) * (self.velocity(x, t) - broadcast(p.f(t), x) * x)


@dataclass(frozen=True)
class LogLikelihood:
    """log p(x) in nats (b,), float64; the latents (b, *d); what was spent."""

    log_p: Tensor
    latents: Tensor
    count: Count


def log_likelihood(
    model: Model,
    info: SolverInfo,
    grid: Tensor,
    x: Tensor,
    *,
    options: dict[str, Any] | None = None,
    probes: Tensor | None = None,
) -> LogLikelihood:
    """log p_{grid[0]}(x) for x (b, *d) along an increasing grid (n + 1,); probes (b, *d) unless the model's trace is closed-form.

    UsageError for a stochastic solver, a decreasing grid, or a network without probes.
    """
    options = check_options(info, options or {})
    if info.stochastic(options):
        raise UsageError(
            f"likelihood needs a deterministic solver, got {info.id} with {options or 'its default options'}"
        )
    if not bool((torch.diff(grid) > 0).all()):
        raise UsageError("likelihood walks from data to noise: its grid must increase")
    if probes is None and not isinstance(model, ExactModel):
        raise UsageError(f"likelihood of {model.name} needs probes: its trace has no closed form")
    kind = AugmentedProblem if info.adaptive else TracedProblem
    problem = kind(
        model, Count(torch.zeros(len(x), dtype=torch.int64)), probes=None if probes is None else probes.to(x)
    )
    walk = _with_column if info.adaptive else _by_quadrature
    latents, integral = walk(problem, info, grid, x, options)
    return LogLikelihood(_log_p(model, grid, latents, integral), latents, problem.count)


def integrand(model: Model, t: Tensor, trace: Tensor) -> Tensor:
    """What is integrated over λ: q = d − α tr(∂D/∂x), or −α tr(∂D/∂x) for processes whose α vanishes; t () or (b,)."""
    d = 0 if model.process.signal_form else math.prod(model.shape)
    return d - model.process.alpha(t) * trace


def _log_p(model: Model, grid: Tensor, latents: Tensor, integral: Tensor) -> Tensor:
    p, d = model.process, math.prod(model.shape)
    scale = torch.log(p.sigma(grid)) if p.signal_form else p.log_alpha(grid)
    z = latents.double().flatten(1).cpu() / p.prior_std
    log_prior = -0.5 * (z**2).sum(1) - d * (0.5 * math.log(2 * math.pi) + math.log(p.prior_std))
    return log_prior + d * float(scale[-1] - scale[0]) + integral


def _by_quadrature(
    problem: TracedProblem, info: SolverInfo, grid: Tensor, x: Tensor, options: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    if info.calls_at == "predicted":
        problem.predicted = set(grid.tolist())
    else:
        problem.awaited = float(grid[0]), x
    steps: Iterator[Step] = info.method(problem, x, grid, **options)
    for step in steps:
        if problem.awaited is not None:  # the method made no call where it stood: one more, counted like any other
            problem.denoise(problem.awaited[1], float(problem.awaited[0]))
        if not problem.predicted:
            problem.awaited = step
        x = step[1]
    if not problem.seen or problem.seen[-1][0] != float(grid[-1]):
        problem.denoise(x, float(grid[-1]))
    t = torch.tensor([t for t, _ in problem.seen], dtype=torch.float64)
    values = torch.stack([integrand(problem.model, at, trace) for at, (_, trace) in zip(t, problem.seen, strict=True)])
    lam = problem.process.lam(t)
    if not bool(torch.isfinite(values).all()):
        return x, torch.full((len(x),), torch.nan, dtype=torch.float64)
    spline = CubicSpline(lam.flip(0).numpy(), values.flip(0).numpy())
    return x, torch.from_numpy(np.asarray(spline.integrate(float(lam[-1]), float(lam[0]))))


def _with_column(
    problem: TracedProblem, info: SolverInfo, grid: Tensor, x: Tensor, options: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    start = torch.cat([x.flatten(1), torch.zeros(len(x), 1).to(x)], 1)
    *_, (_, state) = info.method(problem, start, grid, **options)
    return state[:, :-1].reshape(x.shape), state[:, -1].double().cpu()

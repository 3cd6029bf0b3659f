"""log p of the probability-flow ODE by any deterministic solver, walked from data to noise.

With q = d − α tr(∂D/∂x), log p(x_0) = log p_T(x_T) + d log(α_T/α_0) + ∫ q dλ from λ_T up to λ_0. A fixed-step method runs
unmodified: q is taken with the network call that it makes at each point it accepts, or predicts where its facts say so, and
a quadrature in λ through these points integrates it; where a method makes no call, one more is made. An adaptive method
carries the integral as one more column of its state, under its own error control.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError, unknown
from scorebench.reference_models.model import ExactModel, Model

from .facts import SolverInfo, Step
from .options import check_options
from .problem import Count
from .quadrature import Rule, weights
from .trace import Trace
from .traced_problem import AugmentedProblem, TracedProblem, integrand

Quadrature = Literal["spline", "polynomial", "column"]
Prior = Literal["gaussian", "exact"]
FAR = 10.0  # prior standard deviations per dimension beyond which a latent is one of a diverged path


@dataclass(frozen=True)
class LogLikelihood:
    """log p(x) in nats at grid[0] (b,), float64; the latents (b, *d) at grid[-1]; what was spent, and how.

    `products` are Jacobian products of each sample (b,), `count` has the network evaluations of each sample and batched
    calls and products. `causes` (b,) says what went wrong with a sample, "" where nothing did.
    """

    log_p: Tensor
    latents: Tensor
    count: Count
    products: Tensor
    trace: Trace
    quadrature: Quadrature
    causes: tuple[str, ...]


def log_likelihood(
    model: Model,
    info: SolverInfo,
    grid: Tensor,
    x: Tensor,
    *,
    options: dict[str, Any] | None = None,
    trace: Trace | None = None,
    indices: Tensor | None = None,
    probes: Tensor | None = None,
    quadrature: Quadrature | None = None,
    tolerance: tuple[float, float] | None = None,
    prior: Prior = "gaussian",
    start: tuple[tuple[float, Tensor], ...] = (),
) -> LogLikelihood:
    """log p_{grid[0]}(x) for x (b, *d) along an increasing grid (n + 1,), with the prior N(0, prior_std² I) at grid[-1].

    `trace`: the estimator, by default the model's closed form; its probes are those of the sample `indices` (b,), by
    default 0…b−1, or `probes` (b, *d). `quadrature`: how a fixed-step method integrates q, by a cubic spline unless told;
    an adaptive one always by the column. `tolerance`: rtol, atol of an adaptive method's log-density, in nats, by default
    the same numbers as for every coordinate. `prior` "exact" takes the model's own density at grid[-1]. `start`: points of the
    exact trajectory before grid[0], as in `solve`, but not for a column, whose values there are not known.

    UsageError for a stochastic solver, a decreasing grid, a network without an estimator, or arguments that do not fit.
    """
    options = check_options(info, options or {})
    trace = trace or Trace("closed" if probes is None else "rademacher")
    kind: Quadrature = quadrature or ("column" if info.adaptive else "spline")
    check_likelihood(model, info, grid, options, trace, kind, tolerance, prior)
    if probes is None:
        vectors = trace.vectors(torch.arange(len(x)) if indices is None else indices, model.shape)
    else:
        vectors = probes[None]
    problem = _problem(model, kind, x, trace, vectors, start)
    if kind == "column":
        latents, integral, causes = _with_column(problem, info, grid, x, options, tolerance)
    else:
        latents, integral, causes = _by_quadrature(problem, info, grid, x, options, kind)
    log_p = assemble(model, grid, latents, integral, prior)
    assert problem.products is not None
    why = _causes(model, log_p, latents, causes)
    return LogLikelihood(log_p, latents, problem.count, problem.products, trace, kind, why)


def _problem(
    model: Model,
    quadrature: Quadrature,
    x: Tensor,
    trace: Trace,
    vectors: Tensor | None,
    start: tuple[tuple[float, Tensor], ...],
) -> TracedProblem:
    if quadrature == "column" and start:
        raise UsageError("a column of the integral cannot begin with points of the exact trajectory")
    return (AugmentedProblem if quadrature == "column" else TracedProblem)(
        model,
        Count(torch.zeros(len(x), dtype=torch.int64)),
        start=start,
        trace=trace,
        probes=None if vectors is None else vectors.to(x),
        products=torch.zeros(len(x), dtype=torch.int64),
    )


def check_likelihood(
    model: Model,
    info: SolverInfo,
    grid: Tensor,
    options: dict[str, Any],
    trace: Trace,
    quadrature: Quadrature,
    tolerance: tuple[float, float] | None = None,
    prior: Prior = "gaussian",
) -> None:
    """UsageError for what `log_likelihood` refuses."""
    if info.stochastic(options):
        raise UsageError(
            f"likelihood needs a deterministic solver, got {info.id} with {options or 'its default options'}"
        )
    if not bool((torch.diff(grid) > 0).all()):
        raise UsageError("likelihood walks from data to noise: its grid must increase")
    if trace.kind == "closed" and not isinstance(model, ExactModel):
        raise UsageError(f"likelihood of {model.name} needs probes: its trace has no closed form")
    if quadrature not in get_args(Quadrature):
        raise unknown("quadrature", quadrature, get_args(Quadrature))
    if info.adaptive and quadrature != "column":
        raise UsageError(f"{info.id} is adaptive: its quadrature is column, got {quadrature}")
    if tolerance is not None and not info.adaptive:
        raise UsageError(f"{info.id} has fixed steps: it takes no tolerance of the log-density")
    if prior == "exact" and not isinstance(model, ExactModel):
        raise UsageError(f"the density of {model.name} at the end of the path is not known: its prior is gaussian")


def _by_quadrature(
    problem: TracedProblem, info: SolverInfo, grid: Tensor, x: Tensor, options: dict[str, Any], rule: Rule
) -> tuple[Tensor, Tensor, list[str]]:
    if info.calls_at == "predicted":
        problem.predicted = set(grid.tolist())
    else:
        problem.awaited = float(grid[0]), x
    steps: Iterator[Step] = info.method(problem, x, grid, **options)
    finite = [torch.isfinite(x).flatten(1).all(1)]
    for step in steps:
        if problem.awaited is not None:  # the method made no call where it stood: one more, counted like any other
            problem.denoise(problem.awaited[1], float(problem.awaited[0]))
        if not problem.predicted:
            problem.awaited = step
        x = step[1]
        finite.append(torch.isfinite(x).flatten(1).all(1))
    if not problem.seen or problem.seen[-1][0] != float(grid[-1]):
        problem.denoise(x, float(grid[-1]))
    t = torch.tensor([t for t, _ in problem.seen], dtype=torch.float64)
    q = torch.stack([integrand(problem.model, at, trace) for at, (_, trace) in zip(t, problem.seen, strict=True)])
    integral = (weights(-problem.process.lam(t), rule, info.order or 1)[:, None] * q).sum(0)
    states = torch.stack(finite).cpu()
    return x, integral, [_first_loss(*columns, t) for columns in zip(states.T, torch.isfinite(q).T, strict=True)]


def _first_loss(state: Tensor, trace: Tensor, t: Tensor) -> str:
    """What of a sample was first not finite: its state, by step (n,), or its trace, by time seen (m,)."""
    if not bool(trace.all()):
        step = int((~trace).nonzero()[0])
        what = "trace" if bool(state[: step + 1].all()) else "state"
        return f"diverged: the {what} is not finite at t={float(t[step]):.4g}"
    return "" if bool(state.all()) else "diverged: the state is not finite"


def _with_column(
    problem: TracedProblem,
    info: SolverInfo,
    grid: Tensor,
    x: Tensor,
    options: dict[str, Any],
    tolerance: tuple[float, float] | None,
) -> tuple[Tensor, Tensor, list[str]]:
    start = torch.cat([x.flatten(1), torch.zeros(len(x), 1).to(x)], 1)
    if tolerance is not None:
        options = options | _tolerances(info, options, tolerance, start)
    *_, (_, state) = info.method(problem, start, grid, **options)
    latents, integral = state[:, :-1].reshape(x.shape), state[:, -1].double().cpu()
    why = "or its step fell below what t resolves" if info.adaptive else "on the way"
    lost = ~torch.isfinite(state).all(1).cpu()
    return latents, integral, [f"diverged: the state is not finite, {why}" if row else "" for row in lost]


def _tolerances(
    info: SolverInfo, options: dict[str, Any], tolerance: tuple[float, float], state: Tensor
) -> dict[str, Tensor]:
    """rtol and atol of each entry of the state (d + 1,): a column that is wrong by its tolerance alone rejects a step.

    Methods take the root mean square over d + 1 entries, which the column's share undoes.
    """
    vectors = {}
    for name, value in zip(("rtol", "atol"), tolerance, strict=True):
        vectors[name] = torch.full_like(state[0], float(options.get(name, info.options[name])))
        vectors[name][-1] = value / math.sqrt(state.shape[1])
    return vectors


def assemble(model: Model, grid: Tensor, latents: Tensor, integral: Tensor, prior: Prior = "gaussian") -> Tensor:
    """log p at grid[0] in nats (b,), float64 on the host: the prior at the latents, the change of scale, and ∫ q dλ (b,).

    The change of scale is d log(α_T/α_0), or d log(σ_T/σ_0) in signal form.
    """
    p, d, x = model.process, math.prod(model.shape), latents.double().cpu()
    scale = torch.log(p.sigma(grid)) if p.signal_form else p.log_alpha(grid)
    if prior == "exact":
        assert isinstance(model, ExactModel)
        log_prior = model.log_prob(x, grid[-1])
    else:
        z = x.flatten(1) / p.prior_std
        log_prior = -0.5 * (z**2).sum(1) - d * (0.5 * math.log(2 * math.pi) + math.log(p.prior_std))
    return log_prior + d * float(scale[-1] - scale[0]) + integral


def _causes(model: Model, log_p: Tensor, latents: Tensor, causes: list[str]) -> tuple[str, ...]:
    rms = latents.double().flatten(1).pow(2).mean(1).sqrt().cpu() / model.process.prior_std
    for row, (cause, value, far) in enumerate(zip(causes, log_p.tolist(), rms.tolist(), strict=True)):
        if not cause and not math.isfinite(value):
            causes[row] = "diverged: log p is not finite"
        elif not cause and far > FAR:
            causes[row] = f"diverged: the latent lies {far:.2g} prior deviations per dimension from 0"
    return tuple(causes)

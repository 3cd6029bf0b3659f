"""The likelihood of the field's practice beside ours, in one process: calls, Jacobian products, milliseconds and error.

The practice is scipy's RK45 in t on the flattened batch (score_sde takes 1e-5) and torchdiffeq's dopri5 in σ̂ at 1e-4
(k-diffusion). Errors are with the model's closed-form trace and its own density at t_max, so that they are the integrators'
own; times are of a run with one Rademacher probe, one vector–Jacobian product a call, and so is the error beside. score_sde
makes a second network call for each product, which is not held against it here.

    python -m scorebench.bench.likelihood_peers [images]
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from math import log, prod

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.datasets import FASHION
from scorebench.reference_models.model import ExactModel
from scorebench.solvers.grids import make_grid
from scorebench.solvers.likelihood import assemble, log_likelihood
from scorebench.solvers.noise import uniforms
from scorebench.solvers.problem import Count
from scorebench.solvers.registry import find
from scorebench.solvers.trace import Trace
from scorebench.solvers.traced_problem import AugmentedProblem, integrand

from .features import real_levels
from .quality import mean_interval
from .timing import clock, threads

TARGET, FINE = 0.01, 1e-4  # bits/dim
CLOSED, PROBE = Trace("closed"), Trace("rademacher")
TOLERANCES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
FIXED = (
    ("exp-ab4-x0", "logsnr", 12), ("exp-ab4-x0", "logsnr", 16), ("exp-ab4-x0", "logsnr", 25), ("exp-ab4-x0", "logsnr", 41),
    ("exp-ab4-x0", "logsnr", 81), ("exp-ab3-x0", "logsnr", 17), ("unipc-3", "logsnr", 17), ("dpmpp-2m", "logsnr", 17),
)  # fmt: skip
ADAPTIVE = (("bs32", 1e-4), ("bs32", 1e-3), ("rk45", 1e-3), ("dop853", 1e-3))  # in each sample's own steps
NATS = 10.0  # their tolerance on log p


@dataclass(frozen=True)
class Result:
    """log p in nats (n,), network evaluations of an image on average, and calls of the whole batch."""

    log_p: Tensor
    nfe: float
    calls: int


Run = Callable[[ExactModel, Tensor, Trace], Result]


@dataclass(frozen=True)
class Row:
    """One line of the comparison; errors in bits/dim."""

    name: str
    peer: bool
    nfe: float
    calls: int
    error: float
    low: float
    high: float
    probe_error: float
    wall: float  # ms
    cpu: float


def augmented(model: ExactModel, x: Tensor, trace: Trace) -> tuple[AugmentedProblem, Tensor, Tensor]:
    """The problem with its column, the state at t_min (n, d + 1), and both ends of the path."""
    p = model.process
    vectors = trace.vectors(torch.arange(len(x)), model.shape)
    problem = AugmentedProblem(model, Count(torch.zeros(len(x), dtype=torch.int64)), trace=trace, probes=vectors)
    ends = torch.tensor([p.t_min_likelihood, p.t_max], dtype=torch.float64)
    return problem, torch.cat([x.flatten(1), torch.zeros(len(x), 1, dtype=x.dtype)], 1), ends


def scipy_rk45(model: ExactModel, x: Tensor, trace: Trace, tolerance: float) -> Result:
    """All images and all integrals as one vector under one error norm, in t."""
    from scipy.integrate import solve_ivp

    problem, start, ends = augmented(model, x, trace)

    def slope(t: float, flat: np.ndarray) -> np.ndarray:
        return np.asarray(problem.velocity(torch.from_numpy(flat).reshape(start.shape), t).flatten().numpy())

    solved = solve_ivp(slope, ends.tolist(), start.flatten().numpy(), "RK45", rtol=tolerance, atol=tolerance)
    end = torch.from_numpy(solved.y[:, -1]).reshape(start.shape)
    return _result(problem, assemble(model, ends, end[:, :-1].reshape(x.shape), end[:, -1], "exact"))


def torchdiffeq_dopri5(model: ExactModel, x: Tensor, trace: Trace, tolerance: float) -> Result:
    """The pair (x/α, integral) in σ̂ under one error norm."""
    odeint = import_module("torchdiffeq").odeint
    (problem, _, ends), p = augmented(model, x, trace), model.process

    def slope(s: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        t = p.t_of_sigma_hat(s)
        d, estimate = problem.traced(p.alpha(t) * state[0], t)
        return (state[0] - d) / s, integrand(model, t, estimate) / s

    start = (x / p.alpha(ends[0]), torch.zeros(len(x), dtype=x.dtype))
    y, integral = odeint(slope, start, p.sigma_hat(ends), method="dopri5", rtol=tolerance, atol=tolerance)
    return _result(problem, assemble(model, ends, p.alpha(ends[1]) * y[-1], integral[-1], "exact"))


def ours(model: ExactModel, x: Tensor, trace: Trace, solver: str, grid: str, budget: int) -> Result:
    """A fixed-step solver by path quadrature, at so many calls in all."""
    info, p = find(solver), model.process
    times = make_grid(grid, p, info.steps(budget - 1), p.t_min_likelihood, p.t_max)
    found = log_likelihood(model, info, times, x, trace=trace, prior="exact")
    return Result(found.log_p, float(found.count.evaluations.double().mean()), found.count.calls)


def ours_adaptive(model: ExactModel, x: Tensor, trace: Trace, solver: str, tolerance: float) -> Result:
    """An adaptive solver with the integral as a column, each image in its own steps."""
    p = model.process
    ends = torch.tensor([p.t_min_likelihood, p.t_max], dtype=torch.float64)
    options = {"rtol": tolerance, "atol": tolerance}
    found = log_likelihood(
        model, find(solver), ends, x, options=options, trace=trace, tolerance=(0.0, NATS), prior="exact"
    )
    return Result(found.log_p, float(found.count.evaluations.double().mean()), found.count.calls)


def _result(problem: AugmentedProblem, log_p: Tensor) -> Result:
    return Result(log_p, float(problem.count.evaluations.double().mean()), problem.count.calls)


def contenders() -> list[tuple[str, bool, Run]]:
    """(name, whether it is a peer, how it runs): peers first, torchdiffeq where it is installed."""
    found: list[tuple[str, bool, Run]] = [
        (f"scipy RK45 {tolerance:g}, flattened", True, partial(scipy_rk45, tolerance=tolerance))
        for tolerance in TOLERANCES
    ]
    if find_spec("torchdiffeq") is not None:
        found.append(("torchdiffeq dopri5 1e-4, flattened", True, partial(torchdiffeq_dopri5, tolerance=1e-4)))
    for solver, grid, budget in FIXED:
        found.append((f"{solver} {grid} {budget}", False, partial(ours, solver=solver, grid=grid, budget=budget)))
    for solver, tolerance in ADAPTIVE:
        run = partial(ours_adaptive, solver=solver, tolerance=tolerance)
        found.append((f"{solver} {tolerance:g}, per image", False, run))
    return found


def compare(model: ExactModel, x: Tensor, runs: list[tuple[str, bool, Run]]) -> list[Row]:
    """Every contender on the images x (n, *d) at t_min: twice, with the closed-form trace and with one probe, on the clock."""
    bits = prod(model.shape) * log(2)
    truth = model.log_prob(x, torch.tensor(model.process.t_min_likelihood, dtype=torch.float64))
    rows = []
    with torch.no_grad(), threads(1):
        for name, peer, run in runs:
            exact = run(model, x, CLOSED)
            times, probed = clock(partial(run, model, x, PROBE))
            error, noisy = ((truth - result.log_p).abs().numpy() / bits for result in (exact, probed))
            rows.append(Row(name, peer, exact.nfe, exact.calls, *mean_interval(error), float(noisy.mean()), *times))
    return rows


def verdict(rows: list[Row]) -> list[str]:
    """Who reaches TARGET with the fewest network evaluations of an image, against RK45; and who reaches FINE."""
    peers = [row for row in rows if row.name.startswith("scipy")]
    first, lines = peers[0], []
    for target in (TARGET, FINE):
        able, reached = ([row for row in some if row.error <= target] for some in (rows, peers))
        if not able:
            lines.append(f"none reaches {target:g} bits/dim")
            continue
        best = min(able, key=lambda row: row.nfe)
        lines.append(
            f"fewest calls to {target:g} bits/dim: {best.name}, {best.nfe:.1f} an image ({best.error:.2g} bits/dim), "
            f"{best.nfe / first.nfe:.3f} of the {first.nfe:.0f} of {first.name}"
        )
        if reached:
            cheapest = min(reached, key=lambda row: row.nfe)
            lines[-1] += (
                f", {best.nfe / cheapest.nfe:.3f} of the {cheapest.nfe:.0f} of {cheapest.name}, its cheapest there"
            )
    return lines


def data(model: ExactModel, n: int) -> dict[str, Tensor]:
    """What likelihoods are taken of (n, *d), float64: draws of the model, and held-out images that it was not fitted to."""
    levels, uniform = real_levels(model, n), uniforms(0, torch.arange(n), model.shape)
    draws = model.samples(n, torch.Generator().manual_seed(0))
    return {"draws of the model": draws, "held-out Fashion-MNIST": FASHION.dequantise(levels.double(), uniform)}


def main(images: str = "32") -> None:
    """Print both tables on `exact:ppca-fashion`."""
    model = load_model("exact:ppca-fashion")
    assert isinstance(model, ExactModel)
    for name, x in data(model, int(images)).items():
        rows = compare(model, x, contenders())
        print(
            f"\n{model.name}, {len(x)} {name}, from t={model.process.t_min_likelihood:g}; error of −log p in bits/dim"
        )
        print(
            f"{'':<36}{'calls':>7}{'batched':>9}{'VJPs':>7}{'wall':>8}{'CPU':>8}  mean |error| [95 %], with one probe"
        )
        for row in rows:
            cost = f"{row.nfe:>7.1f}{row.calls:>9}{row.nfe:>7.1f}{row.wall / rows[0].wall:>8.3f}{row.cpu / rows[0].cpu:>8.3f}"
            print(f"{row.name:<36}{cost}  {row.error:.5f} [{row.low:.5f}, {row.high:.5f}]  {row.probe_error:.5f}")
        print("\n".join(verdict(rows)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The likelihood of the field's practice beside ours, in one process: calls, Jacobian products, milliseconds and error.

The practice is scipy's RK45 in t on the flattened batch (score_sde takes 1e-5) and torchdiffeq's dopri5 in σ̂ at 1e-4
(k-diffusion), both in `field_practice`. Errors are with the model's closed-form trace and its own density at t_max, so that
they are the integrators' own; times are of a run with one Rademacher probe, one vector–Jacobian product a call, and so is the
error beside.

Held-out images lie off the model's own: where what explains them changes from one component to another, the integrand has
peaks, at another λ for every image, which no grid finds that all images share. There an image needs steps of its own, an
absolute tolerance, and one on log p beside it: bs32's were scanned on images 0 to 63, and are judged on those after.

    python -m scorebench.bench.likelihood_peers [images [first]]
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import log, prod

import torch
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.datasets import FASHION
from scorebench.reference_models.model import ExactModel
from scorebench.solvers.facts import SolverInfo
from scorebench.solvers.grids import make_grid
from scorebench.solvers.likelihood import LogLikelihood, log_likelihood
from scorebench.solvers.noise import uniforms
from scorebench.solvers.registry import find
from scorebench.solvers.trace import Trace

from .features import real_levels
from .field_practice import find_peer
from .quality import mean_interval
from .timing import clock, threads

RK45, DOPRI5 = "peer:score_sde-rk45", "peer:k-diffusion-dopri5"
TARGET, FINE = 0.01, 1e-4  # bits/dim
CLOSED, PROBE = Trace("closed"), Trace("rademacher")
TOLERANCES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
FIXED = (
    ("exp-ab4-x0", "logsnr", 12), ("exp-ab4-x0", "logsnr", 16), ("exp-ab4-x0", "logsnr", 25), ("exp-ab4-x0", "logsnr", 41),
    ("exp-ab4-x0", "logsnr", 81), ("exp-ab3-x0", "logsnr", 17), ("unipc-3", "logsnr", 17), ("dpmpp-2m", "logsnr", 17),
    ("exp-ab3", "logsnr", 138), ("exp-ab3", "karras?rho=20", 138), ("exp-ab3", "time_quadratic", 138),
)  # fmt: skip
SLACK = 10.0  # nats: a tolerance on log p that leaves the steps to the state
ADAPTIVE = (  # in each sample's own steps: solver, rtol and atol of the state, atol of log p in nats
    ("bs32", 0.0, 4e-4, 0.25), ("bs32", 1e-3, 1e-3, 0.2), ("bs32", 0.0, 2e-4, SLACK), ("bs32", 1e-4, 1e-4, SLACK),
    ("bs32", 1e-3, 1e-3, SLACK), ("rk45", 1e-3, 1e-3, SLACK), ("dop853", 1e-3, 1e-3, SLACK),
    ("dpm-solver-23", 0.0, 1e-3, SLACK),
)  # fmt: skip


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


def practice(model: ExactModel, x: Tensor, trace: Trace, peer: str, tolerance: float) -> Result:
    """A practice of the field, all images and their integrals under one error norm."""
    return _adaptive(model, x, trace, find_peer(peer).info, {"rtol": tolerance, "atol": tolerance}, None)


def ours(model: ExactModel, x: Tensor, trace: Trace, solver: str, grid: str, budget: int) -> Result:
    """A fixed-step solver by path quadrature, at so many calls in all."""
    info, p = find(solver), model.process
    times = make_grid(grid, p, info.steps(budget - 1), p.t_min_likelihood, p.t_max)
    return _result(log_likelihood(model, info, times, x, trace=trace, prior="exact"))


def ours_adaptive(
    model: ExactModel, x: Tensor, trace: Trace, solver: str, rtol: float, atol: float, nats: float = SLACK
) -> Result:
    """An adaptive solver with the integral as a column, each image in its own steps."""
    return _adaptive(model, x, trace, find(solver), {"rtol": rtol, "atol": atol}, (0.0, nats))


def _adaptive(
    model: ExactModel,
    x: Tensor,
    trace: Trace,
    info: SolverInfo,
    options: dict[str, float],
    nats: tuple[float, float] | None,
) -> Result:
    p = model.process
    ends = torch.tensor([p.t_min_likelihood, p.t_max], dtype=torch.float64)
    return _result(log_likelihood(model, info, ends, x, options=options, trace=trace, tolerance=nats, prior="exact"))


def _result(found: LogLikelihood) -> Result:
    return Result(found.log_p, float(found.count.evaluations.double().mean()), found.count.calls)


def contenders() -> list[tuple[str, bool, Run]]:
    """(name, whether it is a peer, how it runs): peers first, torchdiffeq where it is installed."""
    found: list[tuple[str, bool, Run]] = [
        (f"scipy RK45 {tolerance:g}, flattened", True, partial(practice, peer=RK45, tolerance=tolerance))
        for tolerance in TOLERANCES
    ]
    if not find_peer(DOPRI5).missing:
        dopri5 = partial(practice, peer=DOPRI5, tolerance=1e-4)
        found.append(("torchdiffeq dopri5 1e-4, flattened", True, dopri5))
    for solver, grid, budget in FIXED:
        found.append((f"{solver} {grid} {budget}", False, partial(ours, solver=solver, grid=grid, budget=budget)))
    for solver, rtol, atol, nats in ADAPTIVE:
        run = partial(ours_adaptive, solver=solver, rtol=rtol, atol=atol, nats=nats)
        tight = "" if nats == SLACK else f", {nats:g} nats"
        found.append((f"{solver} {rtol:g} {atol:g}{tight}, per image", False, run))
    return found


def compare(model: ExactModel, x: Tensor, runs: list[tuple[str, bool, Run]]) -> list[Row]:
    """Every contender on the images x (n, *d) at t_min: twice, with the closed-form trace and with one probe, on the clock."""
    bits = prod(model.shape) * log(2)
    truth = model.log_prob(x, torch.tensor(model.process.t_min_likelihood, dtype=torch.float64))
    rows = []
    with torch.no_grad(), threads(1):
        for name, peer, run in runs:
            exact = run(model, x, CLOSED)
            (wall, cpu, *_), probed = clock(partial(run, model, x, PROBE))
            error, noisy = ((truth - result.log_p).abs().numpy() / bits for result in (exact, probed))
            rows.append(Row(name, peer, exact.nfe, exact.calls, *mean_interval(error), float(noisy.mean()), wall, cpu))
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


def data(model: ExactModel, n: int, first: int = 0) -> dict[str, Tensor]:
    """What likelihoods are taken of (n, *d), float64: draws of the model, and held-out images that it was not fitted to.

    Of each `first` are left out.
    """
    levels, uniform = real_levels(model, first + n), uniforms(0, torch.arange(first + n), model.shape)
    draws, held_out = (
        model.samples(first + n, torch.Generator().manual_seed(0)),
        FASHION.dequantise(levels.double(), uniform),
    )
    return {"draws of the model": draws[first:], "held-out Fashion-MNIST": held_out[first:]}


def main(images: str = "64", first: str = "64") -> None:
    """Print both tables on `exact:ppca-fashion`."""
    model = load_model("exact:ppca-fashion")
    assert isinstance(model, ExactModel)
    for name, x in data(model, int(images), int(first)).items():
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

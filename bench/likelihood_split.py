"""What a likelihood's error is made of, on exact models: each part from a run in which nothing else is wrong.

discretisation  the solver's own grid; exact trace, exact prior, against log p at t_min
trace           the estimator, on the converged trajectory; exact prior, against log p at t_min
truncation      converged, exact trace and prior, against log p of the data, at t = 0
prior           the Gaussian at t_max; converged, exact trace, against log p at t_min
total           all four at once, as in practice, against log p of the data
rest            none of them: the error of the converged run itself

    python -m scorebench.bench.likelihood_split
"""

from copy import copy
from dataclasses import dataclass
from math import log, prod

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import ExactModel
from scorebench.reference_models.process import EDM
from scorebench.solvers.grids import make_grid
from scorebench.solvers.likelihood import Prior, log_likelihood
from scorebench.solvers.registry import find
from scorebench.solvers.trace import Trace

from .quality import mean_interval

MODELS = ("exact:gaussian", "exact:gmm", "exact:ppca-fashion")
PARTS = ("discretisation", "trace", "truncation", "prior")
CONVERGED = 1e-7  # tolerance of the converged runs
CLOSED = Trace("closed")


@dataclass(frozen=True)
class Practice:
    """A likelihood as it is taken in practice: a solver on a grid of so many steps, and an estimator of the trace."""

    solver: str = "exp-ab3"
    grid: str = "logsnr"
    steps: int = 16
    trace: Trace = Trace("rademacher")  # noqa: RUF009  (frozen)


def data_density(model: ExactModel, x: Tensor) -> Tensor:
    """log p of the data, at zero noise, in nats (b,)."""
    clean = copy(model)
    clean.process = EDM()
    return clean.log_prob(x, torch.zeros((), dtype=torch.float64))


def split(
    model: ExactModel, practice: Practice, n: int, seed: int = 0, tolerance: float = CONVERGED
) -> dict[str, np.ndarray]:
    """The signed error of −log p in bits/dim of n exact draws (n,): each of PARTS, their total in practice, and the rest."""
    p = model.process
    x = model.samples(n, torch.Generator().manual_seed(seed))
    ends = torch.tensor([p.t_min_likelihood, p.t_max], dtype=torch.float64)
    grid = make_grid(practice.grid, p, practice.steps, p.t_min_likelihood, p.t_max)
    at_t_min, at_zero = model.log_prob(x, ends[0]), data_density(model, x)

    def converged(trace: Trace, prior: Prior) -> Tensor:
        options = {"rtol": tolerance, "atol": tolerance}
        return log_likelihood(model, find("dop853"), ends, x, options=options, trace=trace, prior=prior).log_p

    def practised(trace: Trace, prior: Prior) -> Tensor:
        return log_likelihood(model, find(practice.solver), grid, x, trace=trace, prior=prior).log_p

    nothing = converged(CLOSED, "exact")
    errors = {
        "discretisation": at_t_min - practised(CLOSED, "exact"),
        "trace": at_t_min - converged(practice.trace, "exact"),
        "truncation": at_zero - nothing,
        "prior": at_t_min - converged(CLOSED, "gaussian"),
        "total": at_zero - practised(practice.trace, "gaussian"),
        "rest": at_t_min - nothing,
    }
    bits = prod(model.shape) * log(2)
    return {name: (error / bits).numpy() for name, error in errors.items()}


def table(errors: dict[str, np.ndarray]) -> list[tuple[str, float, float, float]]:
    """(name, mean, low, high) of every part, their sum, the total, and the total less the sum."""
    total = sum((errors[name] for name in PARTS), np.zeros(()))
    rows = {name: errors[name] for name in PARTS} | {
        "sum": total, "total": errors["total"], "total − sum": errors["total"] - total, "rest": errors["rest"]
    }  # fmt: skip
    return [(name, *mean_interval(values)) for name, values in rows.items()]


def main() -> None:
    """Print the split on three exact models."""
    practice = Practice()
    print(
        f"{practice.solver}, {practice.steps} steps on {practice.grid}, one Rademacher probe; error of −log p, bits/dim"
    )
    for address in MODELS:
        model = load_model(address)
        assert isinstance(model, ExactModel)
        with torch.no_grad():
            errors = split(model, practice, 32 if "ppca" in address else 256)
        print(f"\n{address}, {len(errors['total'])} draws")
        for name, mean, low, high in table(errors):
            print(f"  {name:<15} {mean:+.6f}  [{low:+.6f}, {high:+.6f}]")


if __name__ == "__main__":
    main()

"""SA-Solver: stochastic Adams methods, predictor and corrector, in the data prediction."""

from collections.abc import Iterator

import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError

from ..exponential import lagrange_weights
from ..facts import Reference, Step, solver
from ..multistep import before, with_past
from ..problem import Problem
from ..update import combine


@solver(
    "sa-solver",
    kind="sde",
    order=2,
    strong=1.0,
    drift=4,
    calls_at="predicted",
    reference=Reference(
        "Xue et al. 2023",
        "SA-Solver: Stochastic Adams Solver for Fast Sampling of Diffusion Models",
        "arXiv:2309.05019",
        "Alg. 1",
    ),
    aliases=("SASolverScheduler", "sample_sa_solver"),
)
def sa_solver(
    problem: Problem, x: Tensor, grid: Tensor, *, tau: float = 1.0, predictor_order: int = 3, corrector_order: int = 4
) -> Iterator[Step]:
    """SA-Solver: x' = (σ'/σ) e^{−τ²h} x + α' Σ_j D_j ∫ (1+τ²) e^{(1+τ²)(λ−λ')} ℓ_j dλ + σ' √(1 − e^{−2τ²h}) z, twice a step.

    First through the last `predictor_order` values of D, then through `corrector_order`, the new one at the predicted point
    among them, with the same noise; the last step is not corrected, as in diffusers, so that n steps cost n calls. A
    constant `tau` is the noise dial of the reverse SDE, 0 an ODE solver; the clock is e^{2τ²λ}. diffusers adds terms of
    higher order where an order is 2; here all integrals are exact.
    """
    if predictor_order < 1 or corrector_order < 2:
        raise UsageError(f"sa-solver needs orders of at least 1 and 2, got {predictor_order} and {corrector_order}")
    p, t = problem.process, grid.tolist()
    past = before(problem, max(predictor_order, corrector_order - 1))
    lam = p.lam(with_past(past, grid)).tolist()
    h = torch.diff(p.lam(grid))
    a = (torch.exp(-(tau**2) * h) * p.sigma(grid[1:]) / p.sigma(grid[:-1])).tolist()
    c = (p.sigma(grid[1:]) * torch.sqrt(-torch.expm1(-2 * tau**2 * h).clamp_max(0))).tolist()
    alpha, clock = p.alpha(grid[1:]).tolist(), torch.exp(2 * tau**2 * p.lam(grid)).tolist()

    def weights(n: int, order: int, ahead: int) -> list[float]:
        """Of the last values of D in step n, oldest first, with `ahead` of them at its end."""
        end = len(past) + n + 1
        nodes = lam[max(0, end + ahead - order) : end + ahead]
        return [alpha[n] * w for w in lagrange_weights(nodes, lam[end - 1], lam[end], 1 + tau**2)]

    steps = range(len(t) - 1)
    predictor = [weights(n, predictor_order, 0) for n in steps]
    corrector = [weights(n, corrector_order, 1) for n in steps]
    history = [problem.denoise(x_before, t_before) for t_before, x_before in past]
    history.append(problem.denoise(x, t[0]))
    for n in steps:
        kept = [(a[n], x)] + ([(c[n], problem.increment(clock[n], clock[n + 1]))] if c[n] else [])
        x = combine(*kept, *zip(predictor[n], history[-len(predictor[n]) :], strict=True))
        if n < len(t) - 2:
            history = [*history[-len(corrector[n]) :], problem.denoise(x, t[n + 1])]
            x = combine(*kept, *zip(corrector[n], history[-len(corrector[n]) :], strict=True))
        yield t[n + 1], x

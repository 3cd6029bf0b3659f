"""The grid `optimise`: points of a fine teacher grid, chosen by dynamic programming for a model and a number of steps.

As GITS (Chen et al. 2024, arXiv:2405.11326, section 4): teacher trajectories from a few latents; the local error of one
Euler step in σ̂ from each of their points to each later one; the path of n steps whose errors, the later ones weighted by
`coefficient` more each, have the least sum. Two things differ. GITS measures a step by how far it strays from the chord of
the whole trajectory, or by its distance from the teacher at that point, where errors at high noise, most of which die
out, outweigh all others (on `digits-vp` its grid is worse than equal steps in t). Here each error is first carried to the
end, as the flow of a Gaussian with the covariance of the teacher's own end points would carry it: free of network calls.
The weights of later steps are smaller, therefore: 1.05, not 1.15. The one teacher serves every number of steps and every solver,
but the grid is Euler's: a method of higher order may do better on a closed form (on `digits-vp` DPM-Solver++(2M) does).
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import Model, model_digest
from scorebench.reference_models.process import Process
from scorebench.solvers.grids import OPTIMISE_OPTIONS, GridName, make_grid
from scorebench.solvers.multistep import EPS_LAM, adams_bashforth
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Count, Problem

from .fingerprint import fingerprint
from .store import Json, Store, key_of

SEED = 2405  # a block of latents that no suite is measured on
KEPT: dict[str, "Teacher"] = {}  # of this process


@dataclass(frozen=True)
class Teacher:
    """Times (m + 1,) from t_max down, the cost of a step from each to each later one (m + 1, m + 1), and what it all cost."""

    times: np.ndarray
    costs: np.ndarray
    calls: int
    evaluations: int

    def grid(self, steps: int, coefficient: float) -> Tensor:
        """The times (steps + 1,) of the cheapest path, from t_max down; UsageError when the teacher has fewer steps."""
        if steps > len(self.times) - 1:
            raise UsageError(
                f"grid optimise chooses {steps} steps out of {len(self.times) - 1}: optimise?teacher={3 * steps}"
            )
        return torch.from_numpy(self.times[cheapest(self.costs, steps, coefficient)])

    @property
    def spent(self) -> Json:
        """Network calls and evaluations, summed over the latents, for all numbers of steps together."""
        return {"grid_calls": self.calls, "grid_evaluations": self.evaluations}


@dataclass
class Recording(Problem):
    """A problem that keeps what the network answers."""

    answers: list[Tensor] = field(default_factory=list)

    def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
        self.answers.append(super().denoise(x, t))
        return self.answers[-1]


def teacher(name: GridName, model: Model, high: float, low: float, dtype: torch.dtype, store: Store | None) -> Teacher:
    """The teacher of a model between two times: from this process, from the store's references, or computed now."""
    options = options_of(name)
    source = fingerprint(
        "scorebench.bench.optimised_grids", "scorebench.solvers.methods.exp_ab", type(model).__module__
    )
    count, steps = int(options["latents"]), int(options["teacher"])
    key = key_of(["grid", model.name, model_digest(model), count, steps, high, low, str(dtype), source])
    if key not in KEPT and store is not None and (kept := store.reference(key)) is not None:
        KEPT[key] = Teacher(kept["times"], kept["costs"], int(kept["calls"]), int(kept["evaluations"]))
    if key not in KEPT:
        KEPT[key] = made = teach(model, count, steps, high, low, dtype)
        if store is not None:
            store.write_npz(f"references/{key}.npz", {name: np.asarray(value) for name, value in vars(made).items()})
    return KEPT[key]


def options_of(name: GridName) -> dict[str, float]:
    return OPTIMISE_OPTIONS | dict(name.options)


@torch.no_grad()
def teach(model: Model, count: int, steps: int, high: float, low: float, dtype: torch.dtype) -> Teacher:
    """Trajectories of exponential Adams–Bashforth-3 on the ρ = 7 grid, one network call a step, and the costs along them."""
    grid = make_grid("karras", model.process, steps, high, low)
    x = Noise(SEED, torch.arange(count), model.shape, dtype).latents() * model.process.prior_std
    problem = Recording(model, Count(torch.zeros(count, dtype=torch.int64)))
    states = [x, *(x for _, x in adams_bashforth(problem, x, grid, 3, EPS_LAM))]
    costs = local_errors(model.process, grid, torch.stack(states).flatten(2), torch.stack(problem.answers).flatten(2))
    if np.isnan(costs).any():
        raise ArithmeticError("grid optimise: the teacher's trajectories are not finite")
    return Teacher(grid.numpy(), costs, problem.count.calls, int(problem.count.evaluations.sum()))


def local_errors(process: Process, grid: Tensor, x: Tensor, d: Tensor) -> np.ndarray:
    """Mean error (m + 1, m + 1) at t_min of one Euler step in σ̂ between points of trajectories x (m + 1, b, k); ∞ backwards.

    d (m, b, k) is the denoiser at all points but the last. An error at σ̂_j shrinks along an eigenvector of the data's
    covariance with variance v by √((v + σ̂_m²)/(v + σ̂_j²)), as Gaussian data would have it.
    """
    s, alpha = process.sigma_hat(grid), process.alpha(grid)
    x = x.cpu() / alpha[:, None, None]
    ends = d[-1].cpu().double()
    _, singular, axes = torch.linalg.svd(ends - ends.mean(0), full_matrices=False)
    variances = singular**2 / (len(ends) - 1)
    costs = np.full((len(grid), len(grid)), np.inf)
    for i in range(len(grid) - 1):
        slope = (x[i] - d[i].cpu()) / s[i]
        error = x[i] + (s[i + 1 :, None, None] - s[i]) * slope - x[i + 1 :]  # (m − i, b, k)
        along = error @ axes.T
        across = (error.square().sum(-1) - along.square().sum(-1)).clamp_min(0)
        later = s[i + 1 :, None] ** 2
        shrunk = (along.square() * ((variances + s[-1] ** 2) / (variances + later))[:, None]).sum(-1)
        total = shrunk + across * s[-1] ** 2 / later
        costs[i, i + 1 :] = (total / x.shape[-1]).sqrt().mean(-1).numpy()
    return costs


def cheapest(costs: np.ndarray, steps: int, coefficient: float) -> list[int]:
    """The path of so many steps from the first point to the last with the least Σ coefficient^k · cost of step k."""
    left = np.full(len(costs), np.inf)
    left[-1] = 0.0
    choices = []
    for _ in range(steps):
        totals = costs + coefficient * left
        choices.append(totals.argmin(1))
        left = totals.min(1)
    path = [0]
    for choice in reversed(choices):
        path.append(int(choice[path[-1]]))
    return path

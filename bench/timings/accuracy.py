"""What a change of a solver must not move unnoticed: the network calls it makes and the error it leaves."""

import torch

from scorebench.reference_models.gaussian import Gaussian, gaussian
from scorebench.reference_models.process import make_process
from scorebench.solvers.drive import Solution, solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

from .devices import DEVICES, prepare

SAMPLES, BUDGET = 64, 10
DETERMINISTIC = sorted(  # with fixed steps, of which the budget buys at least one
    id for id, info in SOLVERS.items() if not info.adaptive and not info.stochastic({}) and info.steps(BUDGET)
)


class Problem:
    """Sixty-four latents of `exact:gaussian`, in float64, and the way from t_max to t_min."""

    def setup(self, solver: str, device: str) -> None:
        prepare(device)
        self.model: Gaussian = gaussian(make_process("vp"))
        self.noise = Noise(0, torch.arange(SAMPLES), self.model.shape, torch.float64, device)
        self.x = self.noise.latents()

    def solve(self, solver: str, steps: int) -> Solution:
        info, process = find(solver), self.model.process
        grid = make_grid(info.grid, process, steps, process.t_max, process.t_min)
        return solve(self.model, info, grid, self.x, noise=self.noise)


class Calls(Problem):
    """Network evaluations of the costliest sample in ten steps; an adaptive method takes its own steps."""

    params = (sorted(SOLVERS), DEVICES)
    param_names = ("solver", "device")
    unit = "evaluations"

    def track_nfe(self, solver: str, device: str) -> int:
        return int(self.solve(solver, BUDGET).count.evaluations.max())


class Error(Problem):
    """Median distance, rms per dimension, to the closed-form flow map for at most ten network calls."""

    params = (DETERMINISTIC, DEVICES)
    param_names = ("solver", "device")
    unit = "rms per dimension"

    def track_error(self, solver: str, device: str) -> float:
        end = self.solve(solver, find(solver).steps(BUDGET)).x.cpu()
        process = self.model.process
        ends = torch.tensor([process.t_max, process.t_min], dtype=torch.float64)
        truth = self.model.flow_map(self.x.cpu(), ends[0], ends[1])
        return float((end - truth).pow(2).mean(1).sqrt().median())

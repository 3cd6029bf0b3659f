"""The solver loop around a network that costs nothing: what a solver's own code adds to a sample."""

import torch
from torch import Tensor

from scorebench.reference_models.process import VP, Process
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

from .devices import DEVICES, clock, prepare, synchronise

STEPS = 10


class Half:
    """The denoiser D(x, t) = x/2 of one-channel images."""

    name = "half"
    process: Process = VP()
    shape: tuple[int, ...] = (1, 8, 8)
    data: str | None = None

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        return 0.5 * x


class Loop:
    """Ten steps of every fixed-step solver on its own grid; a stochastic one pays for its noise too."""

    params = (sorted(id for id, info in SOLVERS.items() if not info.adaptive), [1, 64], DEVICES)
    param_names = ("solver", "batch", "device")
    timer = staticmethod(clock)
    warmup_time = 0.3

    def setup(self, solver: str, batch: int, device: str) -> None:
        prepare(device)
        self.info, self.model = find(solver), Half()
        process = self.model.process
        self.grid = make_grid(self.info.grid, process, STEPS, process.t_max, process.t_min)
        self.noise = Noise(0, torch.arange(batch), self.model.shape, torch.float32, device)
        self.x = self.noise.latents()

    def time_solve(self, solver: str, batch: int, device: str) -> None:
        solve(self.model, self.info, self.grid, self.x, noise=self.noise)
        synchronise(device)

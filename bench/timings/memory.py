"""Peak memory of a whole solve at a batch large enough to show."""

import torch

from scorebench.reference_models.mixture import gmm
from scorebench.reference_models.process import make_process
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

from .devices import DEVICES, prepare

BATCH, STEPS = 512, 20


class Solve:
    """Twenty steps of 512 samples of `exact:gmm` by a multistep method, which keeps its history."""

    params = (["dpmpp-2m"], DEVICES)
    param_names = ("solver", "device")

    def setup(self, solver: str, device: str) -> None:
        prepare(device)
        self.model, self.info = gmm(make_process("vp")), find(solver)
        process = self.model.process
        self.grid = make_grid(self.info.grid, process, STEPS, process.t_max, process.t_min)
        self.x = Noise(0, torch.arange(BATCH), self.model.shape, torch.float32, device).latents()


class Host(Solve):
    """Resident memory of the process, with the import of torch as its floor."""

    def peakmem_solve(self, solver: str, device: str) -> None:
        solve(self.model, self.info, self.grid, self.x)


class Device(Solve):
    """What the solve adds to the memory allocated on the GPU: no floor."""

    unit = "bytes"

    def setup(self, solver: str, device: str) -> None:
        if device != "cuda":
            raise NotImplementedError("a GPU's memory")
        super().setup(solver, device)

    def track_peak(self, solver: str, device: str) -> int:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        solve(self.model, self.info, self.grid, self.x)
        return torch.cuda.max_memory_allocated() - before

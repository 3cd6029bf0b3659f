"""Other libraries' samplers as a user writes their loops: the same network, noise levels, latents and noise as ours.

Both get everything but the loop for nothing: schedulers are made and told their steps before the clock starts, while our
own solve computes its coefficients on it; noise is drawn beforehand for all.
"""

import copy
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scorebench.reference_models.network import NetworkModel
from scorebench.reference_models.parameterisation import Parameterisation
from scorebench.reference_models.process import VP
from scorebench.reference_models.torchvision_repair import repair
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.registry import find

from .certificates.foreign import on_nodes
from .certificates.foreign_functions import sampling
from .peer_timing import Row, figure, over, rounds
from .timing import RecordedNoise

STEPS = 20
MULTISTEP = {"solver_order": 2, "lower_order_final": False}
Loop = Callable[[], Tensor]
Maker = Callable[[], Loop]  # makes ready what one run of the loop uses up, off the clock


@dataclass(frozen=True)
class Algorithm:
    """One update rule under the names that libraries give it; `calls` of the network a step."""

    name: str
    ours: str
    scheduler: str = ""  # of diffusers
    flags: dict[str, Any] = field(default_factory=dict)
    sampler: str | None = None  # of k-diffusion
    calls: int = 1


ALGORITHMS = (
    Algorithm("DDIM", "ddim", "DDIMScheduler", {}, "euler"),
    Algorithm("DPM++ 2M", "dpmpp-2m", "DPMSolverMultistepScheduler", MULTISTEP, "dpmpp_2m"),
    Algorithm("DEIS", "exp-ab2", "DEISMultistepScheduler", MULTISTEP),
    Algorithm("UniPC", "unipc-2", "UniPCMultistepScheduler", MULTISTEP),
    Algorithm("Heun", "heun", "HeunDiscreteScheduler", {}, "heun", 2),
    Algorithm(
        "SDE-DPM++ 2M",
        "sde-dpmpp-2m",
        "DPMSolverMultistepScheduler",
        MULTISTEP | {"algorithm_type": "sde-dpmsolver++"},
        "dpmpp_2m_sde",
    ),
)


class Tenth(nn.Module):
    """The network ε = x/10, which costs next to nothing."""

    def forward(self, x: Tensor, c_noise: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        return (0.1 * x,)


class Setting:
    """One batch on one grid, and each library's loop over it."""

    def __init__(
        self, network: nn.Module, shape: tuple[int, ...], batch: int, steps: int = STEPS, grid: str = "karras"
    ) -> None:
        self.network, self.process, self.steps = network, VP(), steps
        self.model = NetworkModel("peers", network, self.process, Parameterisation("epsilon"), shape, "")
        self.grid = make_grid(grid, self.process, steps, self.process.t_max, self.process.t_min)
        self.nodes, self.ends = self.process.sigma_hat(self.grid), self.process.alpha(self.grid[[0, -1]]).tolist()
        self.noise = RecordedNoise(0, torch.arange(batch), shape, torch.float32)
        self.x = self.noise.latents()

    def makers(self, algorithm: Algorithm) -> dict[str, Maker]:
        """The loop of every library that has the algorithm, and that of the network's calls alone."""
        found = {
            "network": lambda: self.calls(algorithm.calls * self.steps),
            "scorebench": lambda: self.ours(algorithm),
        }
        found["diffusers"] = self.diffusers(algorithm)
        if algorithm.sampler is not None and importlib.util.find_spec("k_diffusion"):
            found["k-diffusion"] = self.k_diffusion(algorithm.sampler, self.drawn(algorithm))
        return found

    def calls(self, number: int) -> Loop:
        def loop() -> Tensor:
            t, out = self.grid[0].expand(len(self.x)), self.x
            for _ in range(number):
                out = self.network(self.x, t)[0]
            return out

        return loop

    def ours(self, algorithm: Algorithm) -> Loop:
        info = find(algorithm.ours)
        return lambda: solve(self.model, info, self.grid, self.x, noise=self.noise).x

    def drawn(self, algorithm: Algorithm) -> list[Tensor]:
        """The noise of each step; none for a deterministic algorithm."""
        self.noise.drawn.clear()
        self.ours(algorithm)()
        return list(self.noise.drawn.values())

    def diffusers(self, algorithm: Algorithm) -> Maker:
        import diffusers

        ready = on_nodes(getattr(diffusers, algorithm.scheduler), algorithm.flags, self.nodes.numpy())
        noise = self.drawn(algorithm)
        given: list[dict[str, Tensor]] = [{"variance_noise": z} for z in noise]
        given = given or [{} for _ in range(algorithm.calls * self.steps)]
        first, last = self.ends if algorithm.scheduler.startswith("Heun") else (1.0, 1.0)  # its state is x/α

        def make() -> Loop:
            scheduler: Any = copy.deepcopy(ready)

            def loop() -> Tensor:
                x = self.x / first
                for t, noise in zip(scheduler.timesteps, given, strict=False):
                    out = self.network(scheduler.scale_model_input(x, t), t)[0]
                    x = scheduler.step(out, t, x, return_dict=False, **noise)[0]
                return x * last

            return loop

        return make

    def k_diffusion(self, sampler: str, noise: list[Tensor]) -> Maker:
        function = getattr(sampling("k-diffusion"), f"sample_{sampler}")
        first, last = self.ends

        def denoised(y: Tensor, sigma: Tensor) -> Tensor:
            """y − σ ε(c_in y), as that package's wrapper of an ε network has it."""
            sigma = sigma.reshape(-1, *[1] * (y.ndim - 1))
            out: Tensor = y - sigma * self.network(y / (sigma**2 + 1) ** 0.5, sigma)[0]
            return out

        def make() -> Loop:
            queue = iter(noise)
            options = {"noise_sampler": lambda *_: next(queue)} if noise else {}
            sigmas = self.nodes.float()
            return lambda: function(denoised, self.x / first, sigmas, disable=True, **options) * last

        return make


def measure(number: int) -> Iterator[Row]:
    """What each library's loop adds to its network calls, a step, at batch 16 of 8×8."""
    repair()
    setting = Setting(Tenth(), (1, 8, 8), 16)
    for algorithm in ALGORITHMS:
        yield from overheads("overhead", algorithm.name, setting.makers(algorithm), setting.steps, number)


def overheads(table: str, case: str, makers: dict[str, Maker], steps: int, number: int) -> Iterator[Row]:
    """A row for each loop beside that of the network's calls, and how far it ends from ours."""
    with torch.inference_mode():
        ends = {name: make()() for name, make in makers.items()}
        spent = rounds(makers, number, repeats=3)
    own = {name: 1e6 * (seconds - np.median(spent["network"])) / steps for name, seconds in spent.items()}
    ours = ends["scorebench"]
    for name in (name for name in makers if name != "network"):
        far = float((ends[name] - ours).abs().max() / ours.abs().max())
        more = {"ratio": over(own[name], own["scorebench"]), "note": f"differs by {far:.1g} of the greatest"}
        yield figure(table, case, name, "overhead a step", "µs CPU", own[name], **more)

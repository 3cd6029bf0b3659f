"""End to end on networks: process CPU time of a whole solve outside the network over that inside it, in the same run.

Every fixed-step solver, batch 64, 20 calls: on the shipped `digits-vp` and on `fashion-vp`, of random weights where it is not
there, as its time does not depend on them. Noise is drawn beforehand.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scorebench.reference_models.addresses import load_model, shipped
from scorebench.reference_models.network import NetworkModel, build_unet
from scorebench.reference_models.parameterisation import Parameterisation
from scorebench.reference_models.process import VP
from scorebench.reference_models.recipes import RECIPES
from scorebench.solvers import registry  # noqa: F401  (so that the list is complete)
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS, SolverInfo
from scorebench.solvers.grids import make_grid

from .peer_timing import Row, figure
from .timing import RecordedNoise, threads

BATCH, BUDGET = 64, 20


class Clocked(nn.Module):
    """A network and the CPU seconds spent in it; with `free` it costs nothing and gives its input."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seconds, self.free = network, 0.0, False

    def forward(self, x: Tensor, c_noise: Tensor, **options: Any) -> tuple[Tensor]:
        if self.free:
            return (x,)
        started = time.process_time()
        out: tuple[Tensor] = self.network(x, c_noise, **options)
        self.seconds += time.process_time() - started
        return out


def models() -> dict[str, tuple[NetworkModel, Clocked]]:
    """The two models, their networks on the clock."""
    found: dict[str, tuple[nn.Module, Parameterisation, tuple[int, ...]]] = {}
    for name in ("digits-vp", "fashion-vp"):
        if name in shipped():
            model = load_model(name)
            assert isinstance(model, NetworkModel)
            found[name] = model.network, model.parameterisation, model.shape
        else:
            torch.manual_seed(0)
            recipe = RECIPES[name]
            found[f"{name}, random"] = build_unet(recipe.architecture), recipe.parameterisation, recipe.data.shape
    made = {}
    for name, (network, parameterisation, shape) in found.items():
        clocked = Clocked(network)
        made[name] = NetworkModel(name, clocked, VP(), parameterisation, shape, ""), clocked
    return made


def solvers() -> list[SolverInfo]:
    return [info for info in SOLVERS.values() if not info.adaptive and info.steps(BUDGET)]


def measure(number: int) -> Iterator[Row]:
    """One row a solver, of so many rounds as a tenth of the other tables have; the largest share comes last."""
    with torch.inference_mode(), threads(1):
        for name, (model, clocked) in models().items():
            shares = {}
            for info in solvers():
                shares[info.id] = np.array([share(model, clocked, info) for _ in range(max(1, number // 10))])
                yield figure("network", name, "scorebench", f"outside, {info.id}", "% of inside", shares[info.id])
            worst = max(shares, key=lambda id: float(np.median(shares[id])))
            yield figure("network", name, "scorebench", "outside, at most", "% of inside", shares[worst], note=worst)


def share(model: NetworkModel, clocked: Clocked, info: SolverInfo) -> float:
    """CPU time outside the network in per cent of that inside."""
    noise = RecordedNoise(0, torch.arange(BATCH), model.shape, torch.float32)
    x, p = noise.latents(), model.process
    grid = make_grid(info.grid, p, info.steps(BUDGET), p.t_max, p.t_min)
    clocked.free = True
    solve(model, info, grid, x, noise=noise)  # draws the noise
    clocked.free, clocked.seconds = False, 0.0
    started = time.process_time()
    solve(model, info, grid, x, noise=noise)
    return 100 * ((time.process_time() - started) / clocked.seconds - 1)

"""No fixed-step solver asks the device for a value inside its loop: on tensors without data, asking is an error."""

from dataclasses import dataclass
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

from scorebench.reference_models.network import NetworkModel
from scorebench.reference_models.parameterisation import Parameterisation
from scorebench.reference_models.process import VP, Process
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import find

SHAPE, BATCH, STEPS = (1, 4, 4), 3, 6
FIXED = sorted(id for id, info in SOLVERS.items() if not info.adaptive)


class Tenth(nn.Module):
    def forward(self, x: Tensor, c_noise: Tensor, return_dict: bool) -> tuple[Tensor]:
        return (0.1 * x,)


@dataclass
class Half:
    """A denoiser that reads nothing of what it is given."""

    name: str = "half"
    process: Process = VP()  # noqa: RUF009  (frozen)
    shape: tuple[int, ...] = SHAPE
    data: str | None = None

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        return 0.5 * x


def setting(id: str) -> tuple[Tensor, Noise]:
    p, info = VP(), find(id)
    return make_grid(info.grid, p, STEPS, p.t_max, p.t_min), Noise(0, torch.arange(BATCH), SHAPE, torch.float32, "meta")


@pytest.mark.parametrize("id", FIXED)
def test_the_loop_reads_nothing_from_the_device(id: str) -> None:
    grid, noise = setting(id)
    for model in (NetworkModel("tenth", Tenth(), VP(), Parameterisation("epsilon"), SHAPE, ""), Half()):
        problem = Problem.of(model, BATCH, noise)
        *_, (t, end) = find(id).method(problem, noise.latents(), grid)
        assert t == grid[-1]
        assert end.shape == (BATCH, *SHAPE)
        assert end.device.type == "meta"


def test_the_driver_reads_once_and_when_asked() -> None:
    grid, noise = setting("ddim")
    reads: list[int] = []

    def read(x: Tensor) -> bool:
        if x.device.type != "meta":
            return bool(x.item())
        reads.append(x.numel())
        return True

    with patch.object(Tensor, "__bool__", read):
        solution = solve(Half(), find("ddim"), grid, noise.latents(), denoise=True)
        assert reads == []
        assert solution.finite and solution.finite
    assert reads == [1]


def test_what_waits_is_seen() -> None:
    _, noise = setting("ddim")
    with pytest.raises(Exception, match="meta"):
        bool(torch.isfinite(noise.latents()).all())

"""Against diffusers' schedulers on the same network in float32, σ̂ and network time chosen so that both see the same."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scorebench.bench.references import latents
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.torchvision_repair import repair
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import find

STEPS = 12
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside diffusers


def scheduler(kind: str, grid: Tensor, **options: Any) -> Any:
    """A diffusers scheduler whose training times are our grid, so that its timestep k is our time grid[STEPS − k]."""
    repair()
    import diffusers

    process = load_model("digits-vp").process
    cumulative = (process.alpha(grid) ** 2).flip(0).numpy()  # ᾱ, from clean to noisy
    betas = 1 - cumulative / np.concatenate([[1.0], cumulative[:-1]])
    made = getattr(diffusers, kind)(
        num_train_timesteps=len(betas),
        trained_betas=betas,
        timestep_spacing="trailing",
        prediction_type="epsilon",
        **options,
    )
    made.set_timesteps(len(betas))
    return made


def run(made: Any, grid: Tensor, calls: int) -> Tensor:
    """The scheduler's state after so many network calls, as x in our scale."""
    model = load_model("digits-vp")
    problem = Problem.of(model, 4)
    x = latents(model, 4, 0, torch.float32)
    in_sigma_hat = type(made).__name__ == "HeunDiscreteScheduler"  # its state is x/α
    if in_sigma_hat:
        x = x / model.process.alpha(grid[0])
    for timestep in made.timesteps[:calls]:
        eps = problem.eps(made.scale_model_input(x, timestep), float(grid[STEPS - int(timestep)]))
        x = made.step(eps, timestep, x).prev_sample
    return x * model.process.alpha(grid[-1]) if in_sigma_hat else x


@pytest.mark.parametrize(
    ("id", "kind", "options", "calls"),
    [
        ("ddim", "DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}, STEPS),
        (
            "dpmpp-2m",
            "DPMSolverMultistepScheduler",
            {"lower_order_final": False, "final_sigmas_type": "sigma_min"},
            STEPS,
        ),
        ("heun", "HeunDiscreteScheduler", {}, 2 * STEPS),
    ],
)
@pytest.mark.parametrize("grid_name", ["time_uniform", "logsnr", "karras"])
def test_agrees_with_diffusers(id: str, kind: str, options: dict[str, Any], calls: int, grid_name: str) -> None:
    model = load_model("digits-vp")
    p = model.process
    # diffusers tabulates ᾱ in float32, so near t = 1, where it is 4e-5, both must start a little lower
    grid = make_grid(grid_name, p, STEPS, 0.9, p.t_min)
    theirs = run(scheduler(kind, grid, **options), grid, calls)
    ours = solve(model, find(id), grid, latents(model, 4, 0, torch.float32))
    assert ours.count.calls == calls
    assert float((ours.x - theirs).norm() / theirs.norm()) < 1e-4

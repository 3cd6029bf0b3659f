"""Multistep methods against diffusers' schedulers on uneven grids, in float64: their tables are replaced by exact ones."""

from typing import Any

import pytest
import torch
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.torchvision_repair import repair
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import find

DOUBLE = torch.float64
STEPS = 9
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # inside diffusers
GRIDS = ["time_uniform", "logsnr", "karras", "uneven"]


def grid_of(name: str) -> Tensor:
    process = load_model("exact:gmm").process
    if name == "uneven":  # λ from −3 to 3 with steps that alternate
        steps = torch.tensor([0.9, 0.4, 0.8, 0.3, 1.1, 0.5, 0.6, 0.9, 0.5], dtype=DOUBLE)
        return process.t_of_lam(torch.cat([torch.zeros(1, dtype=DOUBLE), steps.cumsum(0)]) - 3.0)
    return make_grid(name, process, STEPS, 0.95, 1e-3)


def latents() -> Tensor:
    model = load_model("exact:gmm")
    return Noise(0, torch.arange(6), model.shape).latents()


def made(kind: str, steps: int, trained: int | None = None, **options: Any) -> Any:
    """A scheduler with so many steps, whose tables the caller replaces."""
    repair()
    import diffusers

    scheduler = getattr(diffusers, kind)(num_train_timesteps=trained or steps, **options)
    scheduler.set_timesteps(steps)
    return scheduler


def in_sigma(kind: str, grid: Tensor, **options: Any) -> Tensor:
    """A scheduler that reads σ̂ from `sigmas`, walked along the grid; x in our scale."""
    model = load_model("exact:gmm")
    problem, p = Problem.of(model, 6), model.process
    scheduler = made(kind, STEPS, **options)
    scheduler.sigmas, scheduler.timesteps = p.sigma_hat(grid), torch.arange(STEPS)
    scheduler.set_begin_index(0)
    scaled = kind == "LMSDiscreteScheduler"  # its state is x/α
    x = latents() / p.alpha(grid[0]) if scaled else latents()
    for n in range(STEPS):
        eps = problem.eps(scheduler.scale_model_input(x, n), float(grid[n]))
        x = scheduler.step(eps, n, x).prev_sample
    return x * p.alpha(grid[-1]) if scaled else x


def close(id: str, theirs: Tensor, grid: Tensor, **options: Any) -> None:
    tolerance = 1e-6 if id.startswith("dpmpp") else 1e-9  # DPMSolverMultistepScheduler turns its state into float32
    ours = solve(load_model("exact:gmm"), find(id), grid, latents(), options=options).x
    assert float((ours - theirs).norm() / theirs.norm()) < tolerance


PLAIN = {"lower_order_final": False, "final_sigmas_type": "sigma_min"}


@pytest.mark.parametrize("grid_name", GRIDS)
@pytest.mark.parametrize(
    ("id", "kind", "options"),
    [
        ("lms", "LMSDiscreteScheduler", {}),
        ("exp-ab2", "DEISMultistepScheduler", {"solver_order": 2, "lower_order_final": False}),
        ("exp-ab3", "DEISMultistepScheduler", {"solver_order": 3, "lower_order_final": False}),
        ("dpmpp-3m", "DPMSolverMultistepScheduler", {"solver_order": 3, **PLAIN}),
    ],
)
def test_agrees_with_diffusers(id: str, kind: str, options: dict[str, Any], grid_name: str) -> None:
    grid = grid_of(grid_name)
    close(id, in_sigma(kind, grid, **options), grid)


def test_lowered_orders_at_the_end_agree_with_diffusers() -> None:
    grid = grid_of("uneven")
    options = {"solver_order": 3, "lower_order_final": True, "final_sigmas_type": "sigma_min"}
    close("dpmpp-3m", in_sigma("DPMSolverMultistepScheduler", grid, **options), grid, lower_order_final=True)


@pytest.mark.parametrize("grid_name", GRIDS)
@pytest.mark.parametrize("corrector", [True, False])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_agrees_with_diffusers(order: int, variant: str, corrector: bool, grid_name: str) -> None:
    grid = grid_of(grid_name)
    switch = {"disable_corrector": [] if corrector else list(range(STEPS))}
    theirs = in_sigma("UniPCMultistepScheduler", grid, solver_order=order, solver_type=variant, **switch, **PLAIN)
    close(f"unipc-{order}", theirs, grid, variant=variant, corrector=corrector)


@pytest.mark.parametrize("grid_name", GRIDS)
@pytest.mark.parametrize(("id", "skip", "calls"), [("pndm", False, STEPS + 9), ("plms", True, STEPS + 1)])
def test_pndm_agrees_with_diffusers(id: str, skip: bool, calls: int, grid_name: str) -> None:
    """Two training times a step, so that its table holds the middles too: our grid[k] is its time 2 (STEPS − k) − 1."""
    grid, model = grid_of(grid_name), load_model("exact:gmm")
    problem, p = Problem.of(model, 6), model.process
    scheduler = made("PNDMScheduler", STEPS, 2 * STEPS, skip_prk_steps=skip, timestep_spacing="trailing")
    times = torch.stack([grid[1:], 0.5 * (grid[:-1] + grid[1:])], 1).flip(0).flatten()  # from time −1 up
    times = torch.cat([times, grid[:1]])
    squared = p.alpha(times) ** 2
    scheduler.final_alpha_cumprod, scheduler.alphas_cumprod = squared[0], squared[1:]
    x = latents()
    for timestep in scheduler.timesteps:
        x = scheduler.step(problem.eps(x, float(times[1 + int(timestep)])), int(timestep), x).prev_sample
    assert problem.count.calls == calls == find(id).calls(STEPS)
    close(id, x, grid)


@pytest.mark.parametrize("grid_name", GRIDS)
def test_ipndm_agrees_with_diffusers(grid_name: str) -> None:
    """Its network predicts v = αε − σx0 and its own grid is trigonometric: tables and times are ours."""
    grid, model = grid_of(grid_name), load_model("exact:gmm")
    alpha, sigma = model.process.alpha(grid), model.process.sigma(grid)
    scheduler = made("IPNDMScheduler", STEPS)
    scheduler.alphas, scheduler.betas = alpha, sigma
    scheduler.set_begin_index(0)
    x = latents()
    for n in range(STEPS):
        d = model.denoise(x, grid[n])
        v = alpha[n] * (x - alpha[n] * d) / sigma[n] - sigma[n] * d
        x = scheduler.step(v, n, x).prev_sample
    close("ipndm", x, grid)

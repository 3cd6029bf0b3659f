"""Stochastic exponential methods against diffusers' schedulers on a network in float32, both given the same noise."""

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
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import find

STEPS = 12
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside diffusers


class Recorder(Noise):
    """Keeps every normal that it gives, in order."""

    def __init__(self, size: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        super().__init__(0, torch.arange(size), shape, dtype)
        self.given: list[Tensor] = []

    def increment(self, s_from: float, s_to: float) -> Tensor:
        self.given.append(super().increment(s_from, s_to))
        return self.given[-1]


def scheduler(kind: str, grid: Tensor, **options: Any) -> Any:
    """A diffusers scheduler whose timestep k is our time grid[STEPS − k]."""
    repair()
    import diffusers

    cumulative = (load_model("digits-vp").process.alpha(grid) ** 2).flip(0).numpy()
    betas = 1 - cumulative / np.concatenate([[1.0], cumulative[:-1]])
    made = getattr(diffusers, kind)(
        num_train_timesteps=len(betas),
        trained_betas=betas,
        timestep_spacing="trailing",
        lower_order_final=False,
        **options,
    )
    made.set_timesteps(len(betas))
    return made


def without_extra_terms(made: Any) -> None:
    """Takes out of diffusers' SA-Solver the term of third order that it adds to the coefficients of order 2, in start-up too."""
    exact = made.get_coefficients_fn

    def coefficients(order: int, low: Tensor, high: Tensor, nodes: list[Tensor], tau: Tensor) -> list[Tensor]:
        found, rate, h = exact(order, low, high, nodes, tau), 1 + tau**2, high - low
        if order == 2:
            more = h**2 / 2 - (rate * h + torch.expm1(-rate * h)) / rate**2
            more = torch.exp(rate * high) * more / (nodes[0] - nodes[1])
            found = [found[0] - more, found[1] + more]
        return found

    made.get_coefficients_fn = coefficients


DPM = {"algorithm_type": "sde-dpmsolver++", "final_sigmas_type": "sigma_min"}


@pytest.mark.parametrize("grid_name", ["time_uniform", "logsnr", "karras"])
@pytest.mark.parametrize(
    ("id", "ours", "kind", "theirs"),
    [
        ("sde-dpmpp-1", {}, "DPMSolverMultistepScheduler", {"solver_order": 1, **DPM}),
        ("sde-dpmpp-2m", {}, "DPMSolverMultistepScheduler", {"solver_order": 2, **DPM}),
        (
            "sde-dpmpp-2m",
            {"solver_type": "heun"},
            "DPMSolverMultistepScheduler",
            {"solver_order": 2, "solver_type": "heun", **DPM},
        ),
        ("sa-solver", {}, "SASolverScheduler", {"predictor_order": 3, "corrector_order": 4}),
        ("sa-solver", {"tau": 0.5}, "SASolverScheduler", {"predictor_order": 3, "corrector_order": 3}),
        ("sa-solver", {"tau": 0.0}, "SASolverScheduler", {"predictor_order": 1, "corrector_order": 3}),
    ],
)
def test_agrees_with_diffusers_given_the_same_noise(
    id: str, ours: dict[str, Any], kind: str, theirs: dict[str, Any], grid_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model("digits-vp")
    grid = make_grid(grid_name, model.process, STEPS, 0.9, model.process.t_min)
    x, noise = latents(model, 4, 0, torch.float32), Recorder(4, model.shape, torch.float32)
    if kind == "SASolverScheduler":
        ours = ours | {name: order for name, order in theirs.items()}
        theirs = theirs | {"tau_func": lambda t: torch.tensor(ours.get("tau", 1.0))}
    found = solve(model, find(id), grid, x, options=ours, noise=noise)
    draws = iter(noise.given or [torch.zeros_like(x)] * STEPS)
    made = scheduler(kind, grid, **theirs)
    if kind == "SASolverScheduler":
        without_extra_terms(made)
    monkeypatch.setattr(f"{type(made).__module__}.randn_tensor", lambda *_, **__: next(draws))
    problem, sample = Problem.of(model, 4), x
    for timestep in made.timesteps[:STEPS]:
        eps = problem.eps(sample, float(grid[STEPS - int(timestep)]))
        sample = made.step(eps, timestep, sample).prev_sample
    assert found.count.calls == STEPS
    assert float((found.x - sample).norm() / sample.norm()) < 1e-4


def test_third_order_of_diffusers_is_another_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its coefficient of the second derivative has a wrong sign; ours differ from it, and little from each other."""
    model = load_model("digits-vp")
    grid = make_grid("logsnr", model.process, STEPS, 0.9, model.process.t_min)
    x, noise = latents(model, 4, 0, torch.float32), Recorder(4, model.shape, torch.float32)
    as_coded = solve(model, find("sde-dpmpp-3m"), grid, x, noise=noise).x
    corrected = solve(model, find("sde-dpmpp-3m-corrected"), grid, x, noise=Recorder(4, model.shape, torch.float32)).x
    draws, made = iter(noise.given), scheduler("DPMSolverMultistepScheduler", grid, solver_order=3, **DPM)
    monkeypatch.setattr(f"{type(made).__module__}.randn_tensor", lambda *_, **__: next(draws))
    problem, sample = Problem.of(model, 4), x
    for timestep in made.timesteps[:STEPS]:
        eps = problem.eps(sample, float(grid[STEPS - int(timestep)]))
        sample = made.step(eps, timestep, sample).prev_sample
    assert float((as_coded - sample).norm()) > 3 * float((as_coded - corrected).norm()) > 0

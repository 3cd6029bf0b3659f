"""The driving loop: the path it keeps, the progress it tells, and what it refuses."""

import pytest
import torch

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find


def test_path_and_progress_follow_the_grid() -> None:
    model = load_model("exact:gmm")
    grid, told = make_grid("logsnr", model.process, 5, 1.0, 1e-3), []
    x = Noise(0, torch.arange(3), model.shape).latents()
    solution = solve(model, find("dpmpp-2m"), grid, x, keep_path=True, progress=told.append)
    assert [t for t, _ in solution.path] == grid.tolist() and told == grid.tolist()[1:]
    assert torch.equal(solution.path[0][1], x) and torch.equal(solution.path[-1][1], solution.x)
    denoised = solve(model, find("dpmpp-2m"), grid, x, denoise=True)
    assert torch.equal(denoised.x, model.denoise(solution.x, grid[-1])) and denoised.count.calls == 6


def test_unknown_options_and_missing_noise_are_refused() -> None:
    model = load_model("exact:gmm")
    grid = make_grid("logsnr", model.process, 2, 1.0, 1e-3)
    with pytest.raises(UsageError, match="did you mean eta"):
        solve(model, find("ddim"), grid, torch.zeros(1, 2), options={"etta": 1.0})
    with pytest.raises(ValueError, match="needs noise"):
        solve(model, find("pc"), grid, torch.ones(1, 2))

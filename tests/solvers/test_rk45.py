"""Dormand–Prince against scipy at equal tolerances, sample by sample."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from scorebench.reference_models.addresses import load_model
from scorebench.solvers.drive import solve
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import find

DOUBLE = torch.float64


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-7])
@pytest.mark.parametrize("address", ["exact:gmm", "exact:gmm?process=ve", "exact:gaussian?process=flow"])
def test_agrees_with_scipy_at_equal_tolerances(address: str, tolerance: float) -> None:
    """The same steps: the same end to round-off's amplification, and the same number of evaluations, per sample."""
    model = load_model(address)
    p = model.process
    x = Noise(0, torch.arange(5), model.shape).latents() * p.prior_std
    ends = torch.tensor([p.t_max, p.t_min], dtype=DOUBLE)
    ours = solve(model, find("rk45"), ends, x, options={"rtol": tolerance, "atol": tolerance})
    assert ours.finite
    for i, row in enumerate(x):
        problem = Problem.of(model, 1)

        def slope(t: float, y: np.ndarray, problem: Problem = problem) -> np.ndarray:
            return problem.velocity(torch.from_numpy(y)[None], t)[0].numpy()

        theirs = solve_ivp(slope, (p.t_max, p.t_min), row.numpy(), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(ours.x[i].numpy(), theirs.y[:, -1], rtol=1e-7, atol=1e-9)
        assert int(ours.count.evaluations[i]) == theirs.nfev


def test_samples_do_not_see_their_batch() -> None:
    model = load_model("exact:gmm")
    x = Noise(0, torch.arange(9), model.shape).latents()
    ends = torch.tensor([1.0, 1e-3], dtype=DOUBLE)
    whole = solve(model, find("rk45"), ends, x)
    parts = [solve(model, find("rk45"), ends, part) for part in x.split(4)]
    torch.testing.assert_close(torch.cat([part.x for part in parts]), whole.x, rtol=1e-12, atol=1e-13)
    assert torch.equal(torch.cat([part.count.evaluations for part in parts]), whole.count.evaluations)


def test_a_denoiser_that_breaks_is_a_failure_and_no_endless_loop() -> None:
    model = load_model("exact:gmm")
    denoise = model.denoise
    model.denoise = lambda x, t: denoise(x, t) / (torch.as_tensor(t) > 0.5).to(x)[:, None]  # type: ignore[method-assign]
    x = Noise(0, torch.arange(3), model.shape).latents()
    assert not solve(model, find("rk45"), torch.tensor([1.0, 1e-3], dtype=DOUBLE), x).finite

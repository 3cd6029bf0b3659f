"""What must hold on the shipped networks, by comparison with their committed reference solutions."""

from functools import cache

import numpy as np
import pytest
import torch

from scorebench.bench import references
from scorebench.bench.entries import ModelEntry
from scorebench.bench.suite import load_suite
from scorebench.reference_models.addresses import load_model, shipped
from scorebench.reference_models.network import NetworkModel
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.registry import find

NETWORKS = ["digits-vp", "digits-ve"]
NETWORKS_OF_STANDARD = [m for m in load_suite("standard").models if m.address.partition("?")[0] in shipped()]
FIXED_ODE = sorted(info.id for info in SOLVERS.values() if info.kind == "ode" and not info.adaptive)
SAMPLES = 48


@cache
def median_error(name: str, id: str, budget: int) -> float:
    """Median error at a budget that holds the final denoise, on the solver's own grid, as the suites measure it."""
    model, info = load_model(name), find(id)
    p = model.process
    grid = make_grid(info.grid, p, info.steps(budget - 1), p.t_max, p.t_min)
    with torch.no_grad():
        solution = solve(model, info, grid, references.latents(model, SAMPLES, 0, torch.float32), denoise=True)
    assert int(solution.count.evaluations.max()) <= budget
    reference = references.solution(model, SAMPLES, 0, None).solution
    return float(np.median(references.rms(solution.x, torch.from_numpy(reference))))


@pytest.mark.parametrize("id", FIXED_ODE)
@pytest.mark.parametrize("name", NETWORKS)
def test_error_at_35_calls_is_below_half_of_that_at_10(name: str, id: str) -> None:
    least = SOLVERS[id].calls(SOLVERS[id].least_steps) or 0
    low = max(10, least + 1)  # one for the final denoise
    assert median_error(name, id, 35) < 0.5 * median_error(name, id, low)


@pytest.mark.parametrize("good", ["dpmpp-2m", "exp-ab2"])
@pytest.mark.parametrize("bad", ["euler-t", "heun-t"])
def test_exponential_multistep_methods_win_at_10_calls(good: str, bad: str) -> None:
    assert median_error("digits-vp", good, 10) < 0.8 * median_error("digits-vp", bad, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_committed_references_belong_to_the_weights_and_are_certain(name: str) -> None:
    """Two unlike methods agree far below the errors that solvers have at 35 calls."""
    model = load_model(name)
    assert isinstance(model, NetworkModel)
    with np.load(references.committed(name), allow_pickle=False) as file:
        assert str(file["digest"]) == model.digest
        assert len(file["solution"]) == 512 and len(file["log_p"]) == 32
        assert np.median(file["solution_uncertainty"]) < 1e-5 and np.quantile(file["solution_uncertainty"], 0.9) < 1e-4
        assert file["log_p_uncertainty"].max() < 0.01  # nats, of 64 dimensions: 2e-4 bits/dim


@pytest.mark.parametrize("entry", NETWORKS_OF_STANDARD, ids=lambda entry: str(entry.address))
def test_the_suite_standard_finds_the_references_of_its_networks_committed(entry: ModelEntry) -> None:
    """Each takes many minutes of a core, and none is computed where the suite runs."""
    model = load_model(entry.address)
    assert isinstance(model, NetworkModel)
    with np.load(references.committed(entry.address), allow_pickle=False) as file:
        assert str(file["digest"]) == model.digest
        assert len(file["solution"]) >= entry.n
        assert np.median(file["solution_uncertainty"]) < 1e-5 and np.quantile(file["solution_uncertainty"], 0.9) < 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_small(name: str) -> None:
    model = load_model(name)
    assert isinstance(model, NetworkModel)
    assert sum(parameter.numel() for parameter in model.network.parameters()) <= 200_000

"""Counted network calls against a hook of torch's own, for every solver and in likelihood."""

import pytest
import torch

from scorebench.bench import references
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.network import NetworkModel
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.likelihood import log_likelihood
from scorebench.solvers.noise import Noise


@pytest.mark.parametrize("id", sorted(SOLVERS))
def test_every_call_of_the_network_is_counted(id: str) -> None:
    model, info = load_model("digits-vp"), SOLVERS[id]
    assert isinstance(model, NetworkModel)
    calls, rows = 0, 0

    def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: object) -> None:
        nonlocal calls, rows
        calls, rows = calls + 1, rows + len(inputs[0])

    model.network.register_forward_hook(hook)
    p, x = model.process, references.latents(model, 3, 0, torch.float32)
    noise = Noise(0, torch.arange(3), model.shape, torch.float32)
    with torch.no_grad():
        count = solve(model, info, make_grid(info.grid, p, 4, p.t_max, p.t_min), x, noise=noise, denoise=True).count
    assert (count.calls, int(count.evaluations.sum())) == (calls, rows)
    if info.calls_per_step is not None:
        assert calls == 4 * info.calls_per_step + info.extra_calls + 1 and info.steps(calls - 1) == 4
    if not info.stochastic({}):
        calls = rows = 0
        x, probes = references.images(model, 3, 0, torch.float32), references.shared_probes(model, 3, 0)
        grid = make_grid("logsnr", p, 4, p.t_min_likelihood, p.t_max)
        count = log_likelihood(
            model, info, grid, x, probes=probes, options={"rtol": 0.1} if info.adaptive else {}
        ).count
        assert (count.calls, int(count.evaluations.sum())) == (calls, rows)

"""log p by every deterministic solver, against exact densities."""

import math

import pytest
import torch

from scorebench.bench.references import images
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import ExactModel, Model
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.likelihood import AugmentedProblem, log_likelihood
from scorebench.solvers.noise import Noise, probes
from scorebench.solvers.problem import Count
from scorebench.solvers.registry import find

DETERMINISTIC = sorted(info.id for info in SOLVERS.values() if info.kind == "ode")
DOUBLE = torch.float64


def error(model: Model, id: str, steps: int, **options: float) -> tuple[float, Count]:
    """Mean |error| in bits/dim on 16 exact draws, and what was spent."""
    assert isinstance(model, ExactModel)
    p, x = model.process, images(model, 16, 0, DOUBLE)
    grid = make_grid("logsnr", p, steps, p.t_min_likelihood, p.t_max)
    truth = model.log_prob(x, grid[0])
    result = log_likelihood(model, find(id), grid, x, options=options)
    return float((result.log_p - truth).abs().mean()) / math.prod(model.shape) / math.log(2), result.count


@pytest.mark.parametrize("id", DETERMINISTIC)
def test_converges_to_the_exact_density(id: str, mixture: Model) -> None:
    """To 0.005 bits/dim of prior mismatch, or to where a first- or second-order method has come in 400 steps."""
    tolerance = 1e-4 if SOLVERS[id].order == 2 else 1e-6  # a second-order method takes a thousand steps to 1e-6
    options = {"rtol": tolerance, "atol": tolerance / 10} if SOLVERS[id].adaptive else {}
    found, count = error(mixture, id, 400, **options)
    slow = {"euler-t": 0.12}.get(id, 0.03) if SOLVERS[id].order == 1 else 0.005
    assert found < slow
    assert count.vjps == 0


def test_prior_mismatch_is_what_remains() -> None:
    """On VP, the change of p_T from N(0, I) is known: the limit of every solver differs from the truth by it."""
    model = load_model("exact:gaussian")
    assert isinstance(model, ExactModel)
    p, x = model.process, images(model, 8, 0, DOUBLE)
    grid = make_grid("logsnr", p, 400, p.t_min_likelihood, p.t_max)
    result = log_likelihood(model, find("exp-ab3"), grid, x)
    end = torch.tensor(p.t_max, dtype=DOUBLE)
    z = model.flow_map(x, grid[0], end)  # type: ignore[attr-defined]
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    mismatch = prior - model.log_prob(z, end)
    torch.testing.assert_close(result.log_p - model.log_prob(x, grid[0]), mismatch, rtol=0, atol=2e-4)


def test_network_call_is_shared_with_the_trace() -> None:
    """n steps of a one-call method spend n + 1 calls, each with its one vector-Jacobian product; inner stages have none."""
    model = load_model("digits-vp")
    p, x = model.process, images(model, 2, 0, torch.float32)
    probe = probes(0, torch.arange(2), model.shape)
    grid = make_grid("logsnr", p, 5, p.t_min_likelihood, p.t_max)
    count = log_likelihood(model, find("dpmpp-2m"), grid, x, probes=probe).count
    assert (count.calls, count.vjps, int(count.evaluations.max())) == (6, 6, 6)
    count = log_likelihood(model, find("dpm-solver-3"), grid, x, probes=probe).count
    assert (count.calls, count.vjps) == (16, 6)


def test_hutchinson_is_exact_for_a_trace_that_it_sees_whole() -> None:
    """With probes along the axes their mean is the trace itself: it must equal the closed form's result."""
    model = load_model("exact:gmm")
    p = model.process
    x = images(model, 6, 0, DOUBLE)
    grid = make_grid("logsnr", p, 30, p.t_min_likelihood, p.t_max)
    exact = log_likelihood(model, find("exp-ab2"), grid, x).log_p
    # Rademacher probes in two dimensions are (±1, ±1): two orthogonal ones average to the trace
    signs = [torch.tensor(s, dtype=DOUBLE).expand(6, 2) for s in ([1.0, 1.0], [1.0, -1.0])]
    estimates = [log_likelihood(model, find("exp-ab2"), grid, x, probes=s).log_p for s in signs]
    torch.testing.assert_close((estimates[0] + estimates[1]) / 2, exact, rtol=1e-9, atol=1e-9)


def test_column_slope_is_the_integrand() -> None:
    """The adaptive column integrates q dλ: its slope is q · g²/2σ², checked by differencing log p_t along the flow."""
    model = load_model("exact:gmm?process=flow")
    assert isinstance(model, ExactModel)
    t, h = torch.tensor(0.4, dtype=DOUBLE), 1e-4
    x = Noise(0, torch.arange(5), model.shape).latents()
    problem = AugmentedProblem(model, Count(torch.zeros(5, dtype=torch.int64)))
    slope = problem.velocity(torch.cat([x, torch.zeros(5, 1)], 1), t)
    there = model.log_prob(x + h * slope[:, :-1], t + h) - model.log_prob(x - h * slope[:, :-1], t - h)
    # d log p_t/dt along the flow = −d (log σ)' − column slope in signal form, as log p(x₀) = … + d log(σ_T/σ₀) + column
    expected = -2 / float(t) - slope[:, -1]
    torch.testing.assert_close(there / (2 * h), expected, rtol=1e-6, atol=1e-6)


def test_bad_calls_are_refused() -> None:
    model = load_model("exact:gmm")
    x, grid = images(model, 2, 0, DOUBLE), make_grid("logsnr", model.process, 4, 1e-5, 1.0)
    with pytest.raises(UsageError, match="deterministic"):
        log_likelihood(model, find("pc"), grid, x)
    with pytest.raises(UsageError, match="deterministic"):
        log_likelihood(model, find("ddim"), grid, x, options={"eta": 0.5})
    with pytest.raises(UsageError, match="increase"):
        log_likelihood(model, find("ddim"), grid.flip(0), x)
    with pytest.raises(UsageError, match="needs probes"):
        log_likelihood(
            load_model("digits-vp"), find("ddim"), grid, images(load_model("digits-vp"), 2, 0, torch.float32)
        )

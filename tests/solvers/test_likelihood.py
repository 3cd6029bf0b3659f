"""log p by every deterministic solver, against exact densities."""

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from scorebench.bench.certificates import trajectory
from scorebench.bench.references import images
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import ExactModel, Model
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.likelihood import Quadrature, log_likelihood
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Count
from scorebench.solvers.registry import find
from scorebench.solvers.trace import Trace
from scorebench.solvers.traced_problem import AugmentedProblem

DETERMINISTIC = sorted(info.id for info in SOLVERS.values() if info.kind == "ode")
FIXED = [id for id in DETERMINISTIC if not SOLVERS[id].adaptive]
DOUBLE = torch.float64


def error(model: Model, id: str, steps: int, **options: float) -> tuple[float, Count]:
    """Mean |error| in bits/dim on 16 exact draws, and what was spent."""
    assert isinstance(model, ExactModel)
    p, x = model.process, images(model, 16, 0, DOUBLE)
    grid = make_grid("logsnr", p, steps, p.t_min_likelihood, p.t_max)
    truth = model.log_prob(x, grid[0])
    result = log_likelihood(model, find(id), grid, x, options=options)
    assert result.causes == ("",) * 16
    return float((result.log_p - truth).abs().mean()) / math.prod(model.shape) / math.log(2), result.count


@pytest.mark.parametrize("id", ["euler-t", "exp-ab3", "rk45", "unipc-3"])
def test_converges_to_the_exact_density_on_every_process(id: str, mixture: Model) -> None:
    """To 0.005 bits/dim of prior mismatch, or to where a first-order method has come in 80 steps."""
    options = {"rtol": 1e-5, "atol": 1e-5} if SOLVERS[id].adaptive else {}
    found, count = error(mixture, id, 80, **options)
    assert found < (0.6 if SOLVERS[id].order == 1 else 0.006)
    assert count.vjps == 0


@cache
def slope(id: str, quadrature: Quadrature, coarse: int = 48, fine: int = 96) -> float:
    """Of the error of log p between two grids from t = 0.2 to 0.8 of the flow, both densities exact, the column's start cold."""
    model, before = trajectory.mixture("vp"), 3 if quadrature != "column" else 0
    p = model.process
    found = []
    for steps in (coarse, fine):
        last, first = trajectory.ends(p)
        times = make_grid("logsnr", p, steps + before, first, last)
        past = tuple((t, trajectory.exact(p, t)) for t in times[:before].tolist())
        x = trajectory.exact(p, float(times[before]))
        result = log_likelihood(model, SOLVERS[id], times[before:], x, quadrature=quadrature, prior="exact", start=past)
        found.append(float((result.log_p - model.log_prob(x, times[before])).pow(2).mean().sqrt()))
    return math.log(found[0] / found[1]) / math.log((fine + before) / (coarse + before))


@pytest.mark.parametrize("id", FIXED)
def test_log_p_converges_with_the_order_of_the_solver(id: str) -> None:
    """Up to the spline's four, from 48 to 96 steps, or from 128 to 256 where the next order still shows."""
    expected = min(SOLVERS[id].order or 0, 4) - 0.2
    assert slope(id, "spline") > expected or slope(id, "spline", 128, 256) > expected


@pytest.mark.parametrize("id", ["heun", "unipc-2"])
def test_the_polynomial_of_the_solvers_own_order_keeps_it(id: str) -> None:
    expected = min(SOLVERS[id].order or 0, 4) - 0.2
    assert slope(id, "polynomial") > expected or slope(id, "polynomial", 128, 256) > expected


@pytest.mark.parametrize("id", ["deis-tab1", "dpm-solver-3", "dpmpp-2m", "euler", "exp-ab3-x0", "rk4-t", "unipc-2"])
def test_log_p_as_a_state_column_converges_with_the_order_of_the_solver(id: str) -> None:
    """Methods in ε, x0 and the velocity carry the integral as they carry x, from a cold start."""
    assert slope(id, "column") > (SOLVERS[id].self_started or 0) - 0.2


@cache
def image_path(steps: int) -> tuple[ExactModel, Tensor, tuple[tuple[float, Tensor], ...], Tensor]:
    """In 784 dimensions: the model, a grid from t = 0.2 to 0.8, three points of the flow before it, and where it begins."""
    model = load_model("exact:ppca-fashion")
    assert isinstance(model, ExactModel)
    p, t = model.process, torch.tensor(0.2, dtype=DOUBLE)
    x = p.alpha(t) * images(model, 3, 0, DOUBLE) + p.sigma(t) * Noise(0, torch.arange(3), model.shape).latents()
    grid, past, end = make_grid("logsnr", p, steps, 0.2, 0.8), list[tuple[float, Tensor]](), x
    times = p.t_of_lam(p.lam(grid[0]) + (p.lam(grid[0]) - p.lam(grid[1])) * torch.arange(4, dtype=DOUBLE))
    for span in times.unfold(0, 2, 1):
        end = solve(model, find("dop853"), span, end, options={"rtol": 1e-10, "atol": 1e-10}).x
        past.insert(0, (float(span[1]), end))
    return model, grid, tuple(past), x


def slope_of_images(id: str, coarse: int, fine: int) -> float:
    """As `slope`, at image scale."""
    found = []
    for steps in (coarse, fine):
        model, grid, past, x = image_path(steps)
        result = log_likelihood(model, SOLVERS[id], grid, x, prior="exact", start=past)
        found.append(float((result.log_p - model.log_prob(x, grid[0])).pow(2).mean().sqrt()))
    return math.log(found[0] / found[1]) / math.log(fine / coarse)


@pytest.mark.parametrize("id", FIXED)
def test_log_p_converges_with_the_order_of_the_solver_at_image_scale(id: str) -> None:
    """From 16 to 32 steps, or from 32 to 64 or 64 to 128 where another order's term still shows."""
    expected = min(SOLVERS[id].order or 0, 4) - 0.2
    assert any(slope_of_images(id, steps, 2 * steps) > expected for steps in (16, 32, 64))


@pytest.mark.parametrize("id", FIXED)
def test_network_call_is_shared_with_the_trace_by_every_method(id: str) -> None:
    """Beside its own calls a method makes one, at the end, where it makes none itself; each point has its one product."""
    info, model = SOLVERS[id], load_model("exact:gmm")
    p, steps = model.process, 6
    x, grid = images(model, 2, 0, DOUBLE), make_grid("logsnr", p, steps, p.t_min_likelihood, p.t_max)
    plain = solve(model, info, grid, x, keep_path=True)
    found = log_likelihood(model, info, grid, x, trace=Trace("rademacher"))
    assert found.count.calls == plain.count.calls + 1 and found.count.vjps == len(plain.path)
    if info.calls_at == "accepted":
        assert torch.equal(found.latents, plain.x)  # nothing of the method is changed


@pytest.mark.parametrize("id", DETERMINISTIC)
def test_no_sample_depends_on_its_company(id: str) -> None:
    """Beside one whose path diverges, and alone, to round-off of sums in another order."""
    model = load_model("exact:gmm")
    p, x = model.process, images(model, 3, 0, DOUBLE)
    x[1] = torch.nan
    grid = make_grid("logsnr", p, 6, p.t_min_likelihood, p.t_max)
    trace, options = Trace("gaussian", 2), {"rtol": 0.03, "atol": 0.03} if SOLVERS[id].adaptive else {}
    together = log_likelihood(model, SOLVERS[id], grid, x, trace=trace, options=options)
    alone = log_likelihood(model, SOLVERS[id], grid, x[2:], trace=trace, options=options, indices=torch.tensor([2]))
    torch.testing.assert_close(together.log_p[2:], alone.log_p, rtol=1e-9, atol=1e-9)
    assert torch.equal(together.count.evaluations[2:], alone.count.evaluations)
    assert torch.equal(together.products[2:], alone.products)
    assert together.causes[1].startswith("diverged") and together.causes[2:] == alone.causes


def test_tolerances_of_state_and_log_density_are_apart() -> None:
    """A tight one on log p alone makes log p accurate and costs steps; a loose one leaves the state's steps alone."""
    model = load_model("exact:gmm")
    p, x = model.process, images(model, 8, 0, DOUBLE)
    ends = torch.tensor([p.t_min_likelihood, p.t_max], dtype=DOUBLE)
    options = {"rtol": 1e-4, "atol": 1e-4}

    def run(tolerance: tuple[float, float]) -> tuple[float, Tensor]:
        result = log_likelihood(model, find("rk45"), ends, x, options=options, tolerance=tolerance, prior="exact")
        return float((result.log_p - model.log_prob(x, ends[0])).abs().max()), result.count.evaluations

    (loose, few), (tight, many) = run((0.0, 10.0)), run((0.0, 1e-7))
    assert tight < 1e-4 < loose and bool((many > few).all())
    states = solve(model, find("rk45"), ends, x, options=options).count.evaluations
    assert float((few - states).abs().max()) <= 12  # two steps: the column widens the norm by one entry in three


def test_a_diverging_likelihood_has_a_cause() -> None:
    """Euler's method in t from far outside the data leaves the finite numbers, or comes to lie far from the prior."""
    model = load_model("exact:gmm")
    p = model.process
    x = torch.tensor([[0.3, 0.4], [1e200, 0.0], [1e4, 0.0]], dtype=DOUBLE)
    grid = make_grid("logsnr", p, 10, p.t_min_likelihood, p.t_max)
    causes = log_likelihood(model, find("ddim"), grid, x).causes
    assert not causes[0] and "finite" in causes[1] and "prior deviations" in causes[2]


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
    with pytest.raises(UsageError, match="adaptive: its quadrature is column"):
        log_likelihood(model, find("rk45"), grid, x, quadrature="spline")
    with pytest.raises(UsageError, match="fixed steps"):
        log_likelihood(model, find("ddim"), grid, x, tolerance=(0.0, 1.0))
    with pytest.raises(UsageError, match="needs probes"):
        log_likelihood(
            load_model("digits-vp"), find("ddim"), grid, images(load_model("digits-vp"), 2, 0, torch.float32)
        )

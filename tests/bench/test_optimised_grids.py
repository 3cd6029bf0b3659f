"""The grid `optimise`: the cheapest path, its cost in the record, its cache, and what it gains on a network."""

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from scorebench.bench import optimised_grids
from scorebench.bench.cells import plan
from scorebench.bench.optimised_grids import cheapest, local_errors, teacher
from scorebench.bench.references import latents, rms, solution
from scorebench.bench.runner import run_suite
from scorebench.bench.store import Store
from scorebench.bench.suite import ModelEntry, SolverEntry, Suite
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid, parse_grid
from scorebench.solvers.registry import find

SMALL = "optimise?latents=8&teacher=20"


def suite(*entries: SolverEntry, budgets: tuple[int, ...] = (4,), model: str = "exact:gmm") -> Suite:
    return Suite(name="s", budgets=list(budgets), models=[ModelEntry(address=model, n=16)], solvers=list(entries))


@pytest.mark.parametrize("coefficient", [0.9, 1.0, 1.15])
def test_the_path_is_the_cheapest_of_all(coefficient: float) -> None:
    costs = np.triu(np.random.default_rng(0).uniform(size=(9, 9)), 1)
    costs[np.tril_indices(9)] = np.inf
    for steps in range(1, 9):
        paths = [(0, *inner, 8) for inner in combinations(range(1, 8), steps - 1)]
        totals = [sum(coefficient**k * costs[i, j] for k, (i, j) in enumerate(pairwise(p))) for p in paths]
        assert cheapest(costs, steps, coefficient) == list(paths[int(np.argmin(totals))])


def test_costs_are_the_errors_of_single_steps_carried_by_a_gaussian() -> None:
    """On Gaussian data the carrying is the flow map itself, so that a cost is the end's error after one Euler step."""
    model = load_model("exact:gaussian")
    p = model.process
    grid = make_grid("karras", p, 6, p.t_max, p.t_min)
    x = latents(model, 4000, 0, torch.float64)
    states = [model.flow_map(x, grid[0], t) for t in grid]  # type: ignore[attr-defined]
    answers = [model.denoise(s, t) for s, t in zip(states[:-1], grid, strict=False)]
    costs = local_errors(p, grid, torch.stack(states), torch.stack(answers))
    assert np.isinf(costs[np.tril_indices(7)]).all() and (costs[np.triu_indices(7, 1)] >= 0).all()
    for i, j in ((0, 1), (1, 3), (2, 5), (4, 6)):
        stepped = solve(model, find("euler"), grid[[i, j]], states[i]).x
        ends = [model.flow_map(s, grid[j], grid[-1]) for s in (stepped, states[j])]  # type: ignore[attr-defined]
        error = (ends[0] - ends[1]) / p.alpha(grid[-1])
        assert costs[i, j] == pytest.approx(float(error.square().mean(1).sqrt().mean()), rel=0.05)


def test_the_teacher_is_kept_and_its_cost_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = suite(SolverEntry(id="ddim", grid=SMALL), SolverEntry(id="heun", grid=SMALL), budgets=(4, 30, 50))
    store = Store(tmp_path / "store")
    outcome = run_suite(chosen, store)
    assert (outcome.cells, outcome.failed) == (6, 3)  # a teacher of 20 steps has no 25 and no 30
    for key in store.keys("cells"):
        cell = store.cell(key)
        if cell["status"] == "failed":
            assert "chooses" in cell["message"] and "optimise?teacher=" in cell["message"]
        else:
            assert (cell["counts"]["grid_calls"], cell["counts"]["grid_evaluations"]) == (20, 160)
            assert cell["counts"]["calls"] == cell["config"]["budget"] and cell["config"]["grid"] == SMALL
    kept = optimised_grids.KEPT.copy()
    monkeypatch.setattr(optimised_grids, "KEPT", {})
    monkeypatch.setattr(optimised_grids, "teach", None)  # what is in the store is not made again
    model = load_model("exact:gmm")
    again = teacher(parse_grid(SMALL), model, model.process.t_max, model.process.t_min, torch.float32, store)
    first = next(made for made in kept.values() if np.array_equal(made.times, again.times))
    np.testing.assert_array_equal(again.costs, first.costs)
    assert again.spent == {"grid_calls": 20, "grid_evaluations": 160}


def test_likelihood_runs_the_other_way() -> None:
    made = suite(SolverEntry(id="exp-ab2"))
    made = Suite.model_validate(
        made.model_dump() | {"likelihood": {"models": ["exact:gmm"], "images": 4, "grid": SMALL}}
    )
    (cell,) = (cell for cell in plan(made) if cell.config["pass"] == "likelihood")
    grid, p = cell.grid(), cell.model.process
    assert (grid[0], grid[-1]) == (p.t_min_likelihood, p.t_max) and (grid.diff() > 0).all() and len(grid) == 4


@pytest.mark.parametrize("budget", [8, 10])
def test_it_beats_every_closed_form_on_a_network(budget: int) -> None:
    """Median error of DDIM on `digits-vp`, 128 latents that the grid was not chosen on; one of the calls denoises."""
    model = load_model("digits-vp")
    p = model.process
    x, truth = latents(model, 128, 0, torch.float32), torch.from_numpy(solution(model, 128, 0, None).solution)
    chosen = teacher(parse_grid("optimise"), model, p.t_max, p.t_min, torch.float32, None)
    grids = {
        name: make_grid(name, p, budget - 1, p.t_max, p.t_min)
        for name in ("time_uniform", "time_quadratic", "logsnr", "karras")
    }
    grids["optimise"] = chosen.grid(budget - 1, 1.05)
    with torch.no_grad():
        errors = {
            name: float(np.median(rms(solve(model, find("ddim"), grid, x, denoise=True).x, truth)))
            for name, grid in grids.items()
        }
    best = min(errors[name] for name in errors if name != "optimise")
    assert errors["optimise"] < 0.98 * best, errors
    assert errors["optimise"] < 0.85 * errors["time_uniform"]


def test_lists_and_named_grids_in_suites() -> None:
    cells = plan(suite(SolverEntry(id="ddim", grid=[1.0, 0.5, 0.1, 1e-3]), budgets=(4, 9)))  # type: ignore[arg-type]
    assert [(c.config["grid"], c.config["budget"], c.steps) for c in cells] == [("1,0.5,0.1,0.001", 3, 3)]
    cells = plan(suite(SolverEntry(id="heun", grid="1,0.5,0.1,0.001"), model="digits-vp"))
    assert [(c.config["budget"], c.steps, len(c.grid())) for c in cells] == [(7, 3, 4)]
    cells = plan(suite(SolverEntry(id="DPM++ 2M Karras"), SolverEntry(id="dpmpp-2m", grid="karras?rho=7")))
    assert [(c.info.id, c.config["grid"]) for c in cells] == [("dpmpp-2m", "karras")]  # one cell: the same thing
    cells = plan(suite(SolverEntry(id="DPM++ 2M Karras", grid="exponential")))
    assert [c.config["grid"] for c in cells] == ["logsnr"]
    with pytest.raises(UsageError, match="begins at t=80"):
        plan(suite(SolverEntry(id="ddim", grid="80,1,0.002")))


def test_the_command_line_selects_by_label_and_list() -> None:
    given = suite(SolverEntry(id="ddim"), SolverEntry(id="ddim", options={"eta": 1.0}), SolverEntry(id="dpmpp-2m"))
    chosen = given.select([], ["DDIMScheduler", "DPM++ 2M Karras"], [], [])
    assert [(e.id, e.grid, e.options) for e in chosen.solvers] == [
        ("ddim", None, {}),
        ("ddim", None, {"eta": 1.0}),
        ("dpmpp-2m", "karras", {}),
    ]
    assert [e.grid for e in given.select([], ["ddim?eta=0.5"], [], ["1,0.5,0.001"]).solvers] == ["1,0.5,0.001"]
    with pytest.raises(UsageError, match="fixes the number of steps"):
        given.select([], ["ddim"], [4], ["1,0.5,0.001"])

"""The runner on a small suite: every pass, resumption, failures as rows, and rows as the contract says."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from scorebench.bench import runner, timing
from scorebench.bench.cells import plan
from scorebench.bench.rows import COLUMNS, load_rows
from scorebench.bench.runner import run_suite
from scorebench.bench.store import Store
from scorebench.bench.suite import Likelihood, ModelEntry, SolverEntry, Suite, Timing
from scorebench.reference_models.errors import UsageError

SUITE = Suite(
    name="small",
    budgets=[2, 6],
    models=[ModelEntry(address="exact:gmm", n=60)],
    solvers=[
        SolverEntry(id="exp-ab2"),
        SolverEntry(id="dpm-solver-3"),
        SolverEntry(id="ddim", options={"eta": 0.5}),
        SolverEntry(id="rk45", ladder=[{"rtol": 1e-2, "atol": 1e-2}]),
    ],
    likelihood=Likelihood(models=["exact:gmm"], images=8),
    timing=Timing(models=["exact:gmm"], batch=4, rounds=2),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("runner") / "store")
    outcome = run_suite(SUITE, made)
    assert (outcome.cells, outcome.reused, outcome.failed) == (len(plan(SUITE)), 0, 0)
    assert outcome.skipped == 3  # dpm-solver-3 at 2 calls, in each pass
    return made


def test_rows_are_tidy_and_complete(store: Store) -> None:
    rows = load_rows(store)
    assert list(rows.columns) == COLUMNS
    sample = rows[(rows["pass"] == "sample") & (rows.solver == "exp-ab2") & (rows.budget == 6)].set_index("metric")
    assert set(sample.index) == {"error_median", "error_p90", "fid", "excess_fid"}
    assert (sample.low <= sample.value).all() and (sample.value <= sample.high).all()
    assert sample.nfe_mean.iloc[0] == 6 and sample.loc["fid", "floor"] > 0
    assert set(rows[rows["pass"] == "likelihood"].metric.dropna()) == {"likelihood_error", "likelihood_bias", "nll"}
    assert set(rows[rows["pass"] == "time"].metric.dropna()) == {"time_ms", "cpu_ms", "time_ratio"}
    skipped = rows[rows.status == "skipped"]
    assert set(skipped.message) == {"needs 3 network calls", "needs 4 network calls"}
    assert sample.commit.notna().all() and (rows.torch_version == torch.__version__).all()


def test_stochastic_solvers_have_no_pathwise_error(store: Store) -> None:
    rows = load_rows(store)
    ddim = rows[(rows.solver == "ddim") & (rows["pass"] == "sample")]
    assert set(ddim.metric) == {"fid"} | {"excess_fid"} and (ddim.kind == "sde").all() and (ddim.eta == 0.5).all()
    assert not len(rows[(rows.solver == "ddim") & (rows["pass"] == "likelihood")])


def test_adaptive_cells_have_no_budget_and_honest_counts(store: Store) -> None:
    rows = load_rows(store)
    rk45 = rows[(rows.solver == "rk45") & (rows["pass"] == "sample")]
    assert rk45.budget.isna().all() and (rk45.nfe_max >= rk45.nfe_mean).all() and (rk45.nfe_mean > 10).all()


def test_nothing_is_computed_twice(store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in store.root.glob("cells/*")}
    outcome = run_suite(SUITE, store)
    assert outcome.reused == outcome.cells
    assert before == {path: path.stat().st_mtime_ns for path in store.root.glob("cells/*")}


def test_more_samples_of_the_same_index_agree(store: Store, tmp_path: Path) -> None:
    """The first 30 of 60 samples, and the noise of a stochastic solver, do not depend on how many there are."""
    few = SUITE.model_copy(
        update={"models": [ModelEntry(address="exact:gmm", n=30)], "likelihood": None, "timing": None}
    )
    other = Store(tmp_path / "few")
    run_suite(few, other)
    pairs = zip(plan(few), [c for c in plan(SUITE) if c.config["pass"] == "sample"], strict=True)
    for small, large in ((a, b) for a, b in pairs if a.steps > 0):
        np.testing.assert_allclose(
            other.arrays(small.key)["features"], store.arrays(large.key)["features"][:30], rtol=2e-5, atol=2e-5
        )


def test_a_partial_run_keeps_the_rest_listed(store: Store) -> None:
    run_suite(SUITE.select([], ["exp-ab2"], [6]), store, partial=True)
    listed = store.read_json("suites/small.json")["cells"]
    assert sorted(listed) == sorted(cell.key for cell in plan(SUITE))
    run_suite(SUITE, store)


def test_interruption_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, calls = Store(tmp_path / "store"), []
    measure = runner.measure

    def interrupted(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        measure(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_suite(SUITE, store)
    assert len(store.keys("cells")) == 3
    monkeypatch.undo()
    assert run_suite(SUITE, store).reused == 3


def test_a_failure_is_a_row_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = SUITE.model_copy(update={"likelihood": None, "timing": None, "budgets": [6]})
    solve = runner.solve

    def broken(model, info, *arguments, **keywords):  # type: ignore[no-untyped-def]
        if info.id == "exp-ab2":
            raise RuntimeError("out of memory\nsecond line")
        solution = solve(model, info, *arguments, **keywords)
        if info.id == "dpm-solver-3":
            solution.x[0] = torch.nan
        return solution

    monkeypatch.setattr(runner, "solve", broken)
    store = Store(tmp_path / "store")
    assert run_suite(suite, store).failed == 2
    rows = load_rows(store).drop_duplicates("cell").set_index("solver")
    assert rows.loc["exp-ab2", "message"] == "RuntimeError: out of memory"
    assert "diverged" in rows.loc["dpm-solver-3", "message"]
    monkeypatch.undo()
    again = run_suite(suite, store)  # the crash is tried again, the divergence is a result
    assert (again.reused, again.failed) == (again.cells - 1, 1)


def test_a_solver_that_breaks_in_the_time_pass_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = SUITE.model_copy(update={"likelihood": None, "budgets": [6]})
    solve = timing.solve

    def broken(model, info, *arguments, **keywords):  # type: ignore[no-untyped-def]
        if info.id == "exp-ab2":
            raise KeyError("lost")
        return solve(model, info, *arguments, **keywords)

    monkeypatch.setattr(timing, "solve", broken)
    store = Store(tmp_path / "store")
    assert run_suite(suite, store).failed == 1
    rows = load_rows(store)
    timed = rows[rows["pass"] == "time"].drop_duplicates("cell").set_index("solver")
    assert timed.loc["exp-ab2", "message"] == "KeyError: 'lost'"
    assert (timed.drop("exp-ab2").status == "ok").all()


def test_a_damaged_cell_stops_the_run_before_anything_is_written(store: Store) -> None:
    path = next(store.root.glob("cells/*.json"))
    intact = path.read_text()
    path.write_text(intact[:100])
    before = {p: p.stat().st_mtime_ns for p in store.root.rglob("*") if p.is_file()}
    with pytest.raises(UsageError, match="cut or edited"):
        run_suite(SUITE, store)
    assert before == {p: p.stat().st_mtime_ns for p in store.root.rglob("*") if p.is_file()}
    path.write_text(intact)


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system would say it; root, as whom tests may run, is refused nothing by permissions alone."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="not a writable folder"):
        run_suite(SUITE, Store(tmp_path / "store"))
    assert not list(tmp_path.iterdir())

"""The runner on a small suite: every pass, resumption, failures as rows, and rows as the contract says."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from scorebench.bench import compared, measure, references, runner, time_pass, timing
from scorebench.bench.cells import plan
from scorebench.bench.claims import Claims
from scorebench.bench.rows import COLUMNS, load_rows
from scorebench.bench.runner import Event, Orders, run_suite
from scorebench.bench.store import Store
from scorebench.bench.suite import Likelihood, ModelEntry, SolverEntry, Suite, Timing
from scorebench.bench.upkeep import verify
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
    timing=Timing(models=["exact:gmm"], batches=[4], rounds=2),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = Store(tmp_path_factory.mktemp("runner") / "store")
    outcome = run_suite(SUITE, made)
    assert (outcome.cells, outcome.reused, outcome.failed) == (len(plan(SUITE)), 0, 0)
    assert outcome.skipped == 3  # dpm-solver-3 at 2 calls, in each pass
    return made


ANY_SOLVER = set("fid fid_corrected excess_fid kid sliced_wasserstein cross_entropy moments_frechet".split())


def test_rows_are_tidy_and_complete(store: Store) -> None:
    rows = load_rows(store)
    assert list(rows.columns) == COLUMNS
    sample = rows[(rows["pass"] == "sample") & (rows.solver == "exp-ab2") & (rows.budget == 6)].set_index("metric")
    assert set(sample.index) == {"error_median", "error_p90", "class_changed"} | ANY_SOLVER
    assert (sample.low <= sample.value).all() and (sample.value <= sample.high).all()
    assert sample.nfe_mean.iloc[0] == 6 and sample.loc["fid", "floor"] > 0
    assert set(rows[rows["pass"] == "likelihood"].metric.dropna()) == {"likelihood_error", "likelihood_bias", "nll"}
    assert set(rows[rows["pass"] == "time"].metric.dropna()) == {
        "time_ms",
        "cpu_ms",
        "time_ratio",
        "throughput",
        "overhead_ms",
        "time_in_calls",
    }
    skipped = rows[rows.status == "skipped"]
    assert set(skipped.message) == {"needs 3 network calls", "needs 4 network calls"}
    assert sample.commit.notna().all() and (rows.torch_version == torch.__version__).all()


def test_stochastic_solvers_have_no_pathwise_error(store: Store) -> None:
    rows = load_rows(store)
    ddim = rows[(rows.solver == "ddim") & (rows["pass"] == "sample")]
    assert set(ddim.metric) == ANY_SOLVER and (ddim.kind == "sde").all() and (ddim.eta == 0.5).all()
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
            other.arrays(small.key)["features"], store.arrays(large.key)["features"][:, :30], rtol=2e-5, atol=2e-5
        )


def test_a_partial_run_keeps_the_rest_listed(store: Store) -> None:
    run_suite(SUITE.select([], ["exp-ab2"], [6]), store, orders=Orders(partial=True))
    listed = store.read_json("suites/small.json")["cells"]
    assert sorted(listed) == sorted(cell.key for cell in plan(SUITE))
    run_suite(SUITE, store)


def test_interruption_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = SUITE.model_copy(update={"likelihood": None, "timing": None})
    store, calls = Store(tmp_path / "store"), []
    work = runner.measure

    def interrupted(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        work(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_suite(suite, store)
    assert len(store.keys("cells")) == 3
    monkeypatch.undo()
    assert run_suite(suite, store).reused == 3


def test_a_failure_is_a_row_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = SUITE.model_copy(update={"likelihood": None, "timing": None, "budgets": [6]})
    solve = measure.solve

    def broken(model, info, *arguments, **keywords):  # type: ignore[no-untyped-def]
        if info.id == "exp-ab2":
            raise RuntimeError("out of memory\nsecond line")
        solution = solve(model, info, *arguments, **keywords)
        if info.id == "dpm-solver-3":
            solution.x[0] = torch.nan
        return solution

    monkeypatch.setattr(measure, "solve", broken)
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


def test_times_are_taken_in_fresh_processes_at_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Timing(models=["exact:gmm"], batches=[3, 5], rounds=2, processes=2)
    change = {"sampling": False, "likelihood": None, "budgets": [6], "solvers": SUITE.solvers[:1], "timing": clock}
    suite = SUITE.model_copy(update=change)
    store = Store(tmp_path / "store")
    started = list[int]()
    pool = time_pass.ProcessPoolExecutor

    def start(*arguments: Any, **keywords: Any) -> Any:
        started.append(1)
        return pool(*arguments, **keywords)

    monkeypatch.setattr(time_pass, "ProcessPoolExecutor", start)
    assert run_suite(suite, store).failed == 0
    assert len(started) == 2  # and not two for each batch
    rows = load_rows(store).set_index("metric")
    for key, n in ((cell.key, cell.config["n"]) for cell in plan(suite)):
        arrays = store.arrays(key)
        assert {len(times) for times in arrays.values()} == {4} and (arrays["launch_ms"] <= arrays["wall_ms"]).all()
        throughput = rows[rows.cell == key].loc["throughput", "value"]
        assert throughput == pytest.approx(1000 * n * np.median(1 / arrays["wall_ms"]))
    assert {cell.config["n"] for cell in plan(suite)} == {3, 5}


def test_code_that_changes_during_a_run_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Timing(models=["exact:gmm"], batches=[3], rounds=1, processes=1)
    change = {"sampling": False, "likelihood": None, "budgets": [6], "solvers": SUITE.solvers[:1], "timing": clock}
    monkeypatch.setattr(time_pass.ProcessPoolExecutor, "submit", lambda pool, work, *given: Planned(work, given))
    monkeypatch.setattr(time_pass, "cells_of", lambda suite, store: [])  # what the process plans, with the new code
    with pytest.raises(UsageError, match="changed since this run began"):
        run_suite(SUITE.model_copy(update=change), Store(tmp_path / "store"))


class Planned(NamedTuple):
    """A task that is done in this process."""

    work: Any
    given: Any

    def result(self) -> Any:
        return self.work(*self.given)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_damaged_files_are_said_and_made_anew(store: Store, tmp_path: Path) -> None:
    """A cell's JSON, another's arrays, a third's rows, the reference, the facts: the tables end as they were."""
    copy = Store(Path(shutil.copytree(store.root, tmp_path / "copy")))
    keys = [cell.key for cell in plan(SUITE) if cell.config["pass"] != "time" and cell.steps > 0]
    whole = load_rows(store)
    names = [
        f"cells/{keys[0]}.json",
        f"cells/{keys[1]}.npz",
        f"metrics/{keys[2]}.json",
        "models.json",
        "suites/small.json",
    ]
    for name in (*names, *(p.relative_to(copy.root) for p in copy.root.glob("references/*.npz"))):
        damage(copy.root / name)
    notes: list[str] = []
    outcome = run_suite(SUITE, copy, lambda event: notes.append(event.text) if event.note else None)
    assert outcome.new == 2 and [Path(note.split()[0]).name for note in notes] == [
        Path(name).name for name in names[:2]
    ]
    changing = ["started", "seconds", "commit"]
    pd.testing.assert_frame_equal(load_rows(copy).drop(columns=changing), whole.drop(columns=changing))
    assert not verify(copy).damaged


def test_memory_that_runs_out_halves_the_batch(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = SUITE.model_copy(update={"likelihood": None, "timing": None, "budgets": [6]})
    solve = measure.solve

    def limited(model, info, grid, x, **keywords):  # type: ignore[no-untyped-def]
        if len(x) > 16 and info.id == "exp-ab2":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return solve(model, info, grid, x, **keywords)

    monkeypatch.setattr(measure, "solve", limited)
    tight = Store(tmp_path / "store")
    assert run_suite(suite, tight).failed == 0
    key = next(cell.key for cell in plan(suite) if cell.info.id == "exp-ab2")
    assert (tight.cell(key)["counts"]["batch"], store.cell(key)["counts"]["batch"]) == (15, 60)
    assert tight.cell(key)["counts"] | {"batch": 60} == store.cell(key)["counts"]
    np.testing.assert_allclose(tight.arrays(key)["error"], store.arrays(key)["error"], rtol=1e-4)
    assert load_rows(tight).set_index("cell").loc[key, "message"].iloc[0].startswith("in batches of 15")


def test_a_metric_that_fails_costs_its_rows_and_is_tried_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Store(Path(shutil.copytree(store.root, tmp_path / "copy")))
    for path in copy.root.glob("metrics/*"):
        path.unlink()

    def broken(error: np.ndarray, uncertainty: np.ndarray) -> None:
        raise ZeroDivisionError("no errors")

    monkeypatch.setattr(compared, "error_rows", broken)
    assert run_suite(SUITE, copy).new == 0
    rows = load_rows(copy)
    lost = rows[rows.message == "metrics: ZeroDivisionError: no errors"]
    assert set(lost.kind) == {"ode"} and set(lost["pass"]) == {"sample"} and lost.metric.isna().all()
    assert {"likelihood_error", "time_ms", "fid"} <= set(rows.metric.dropna())
    monkeypatch.undo()
    run_suite(SUITE, copy)
    pd.testing.assert_frame_equal(load_rows(copy), load_rows(store))


HOLD = """
import sys
from pathlib import Path
from scorebench.bench.claims import Claims
claims = Claims(Path(sys.argv[1]))
assert all(claims.take(key) for key in sys.argv[2:])
print("held", flush=True)
sys.stdin.read()
"""


def test_another_runs_cells_are_waited_for_and_not_repeated(tmp_path: Path) -> None:
    """What a second run claims is left to it; where it dies without a result, the cell is measured here."""
    suite = SUITE.model_copy(update={"likelihood": None, "timing": None})
    store = Store(tmp_path / "store").open_for_writing()
    held = [cell.key for cell in plan(suite)][:2]
    other = subprocess.Popen([sys.executable, "-c", HOLD, store.root / "claims", *held], stdin=PIPE, stdout=PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    seen: list[str] = []

    def tell(event: Event) -> None:
        seen.extend(event.done)
        if event.text.startswith("waiting"):
            other.kill()

    outcome = run_suite(suite, store, tell)
    other.wait()
    for pipe in (other.stdin, other.stdout):
        pipe.close()  # type: ignore[union-attr]
    assert outcome.new == outcome.cells and sorted(seen[-2:]) == sorted(held)


def test_work_that_another_process_has_in_hand_comes_last(tmp_path: Path) -> None:
    claims, order = Claims(tmp_path / "claims"), list[str]()
    other = subprocess.Popen([sys.executable, "-c", HOLD, claims.path, "a"], stdin=PIPE, stdout=PIPE)
    assert other.stdout is not None and other.stdout.readline() == b"held\n"

    def give(name: str) -> str:
        order.append(name)
        return name.upper()

    assert claims.divide({name: partial(give, name) for name in "abc"}, other.kill) == ["A", "B", "C"]
    assert order == ["b", "c", "a"]
    other.wait()
    for pipe in (other.stdin, other.stdout):
        pipe.close()  # type: ignore[union-attr]


def test_a_reference_is_kept_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted, a run has the parts that are done; the whole is that of all latents at once."""
    suite = SUITE.model_copy(update={"likelihood": None, "timing": None, "budgets": [5]})
    store = Store(tmp_path / "store").open_for_writing()
    cell = next(cell for cell in plan(suite) if cell.config["kind"] == "ode" and cell.config["model"] == "exact:gmm")
    whole = measure.solution(cell, store, lambda _: None, slice(0, 20))
    assert len(list(store.root.glob("references/*"))) == 1
    monkeypatch.setattr(references, "PART", {"cpu": 8})
    told: list[str] = []
    again = measure.solution(cell, store, told.append, slice(0, 20))
    assert told == [f"reference of exact:gmm: latents {rows}" for rows in ("0 to 7", "8 to 15", "16 to 19")]
    np.testing.assert_allclose(again.solution, whole.solution, rtol=0, atol=1e-9)
    np.testing.assert_allclose(again.uncertainty, whole.uncertainty, rtol=0, atol=1e-9)
    longer = measure.solution(cell, store, told.append, slice(0, 24))
    assert len(told) == 4 and np.array_equal(longer.solution[:16], again.solution[:16])


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system would say it; root, as whom tests may run, is refused nothing by permissions alone."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="not a writable folder"):
        run_suite(SUITE, Store(tmp_path / "store"))
    assert not list(tmp_path.iterdir())

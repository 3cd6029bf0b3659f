"""A watched run: a hang and a crash cost their cells, and the results are those of an unwatched run, bit for bit."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from scorebench.bench.cells import plan
from scorebench.bench.measure import settled
from scorebench.bench.rows import load_rows
from scorebench.bench.runner import Event, Orders, run_suite
from scorebench.bench.store import Store
from scorebench.bench.suite import ModelEntry, SolverEntry, Suite, Timing
from scorebench.bench.watched import run_watched
from scorebench.solvers.facts import ALIASES, SOLVERS
from scorebench.solvers.registry import load_plugin

BAD = """
import os, time
from scorebench.solvers.facts import Reference, solver

@solver("bad", order=None, reference=Reference("Nobody", "Nothing", "none"))
def bad(problem, x, grid):
    if len(x) == 40:
        time.sleep(600)  # hangs where it samples
    os.kill(os.getpid(), 11)  # crashes where it is timed
    yield 0.0, x
"""
SUITE = Suite(
    name="watched",
    budgets=[5],
    models=[ModelEntry(address="exact:gaussian", n=40)],  # whose reference takes no time
    solvers=[SolverEntry(id="exp-ab2"), SolverEntry(id="bad"), SolverEntry(id="ddim", options={"eta": 1.0})],
    metrics=["error_median", "time_ms"],  # and none that imports more than the limit allows for on a busy machine
    timing=Timing(models=["exact:gaussian"], batches=[4], rounds=2),
)


def sound() -> Suite:
    return SUITE.model_copy(update={"solvers": [SUITE.solvers[0], SUITE.solvers[2]], "timing": None})


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "bad.py"
    path.write_text(BAD)
    load_plugin(str(path))
    yield path
    SOLVERS.pop("bad")
    ALIASES.pop("bad", None)


def test_hangs_and_crashes_cost_their_cells_alone(plugin: Path, tmp_path: Path) -> None:
    store, events = Store(tmp_path / "store"), list[Event]()
    orders = Orders(limit=12.0, prepare=partial(load_plugin, str(plugin)))
    outcome = run_watched(SUITE, store, events.append, orders)
    assert (outcome.cells, outcome.new, outcome.failed) == (6, 6, 2)
    rows = load_rows(store).drop_duplicates("cell").set_index(["pass", "solver"])
    assert rows.loc[("sample", "bad"), "message"] == "time-out: not finished in 12 s"
    assert rows.loc[("time", "bad"), "message"] == "crashed: SIGSEGV"
    assert (rows.drop(index="bad", level=1).status == "ok").all()
    assert sum(len(event.done) for event in events) == 6
    assert [event.text.rpartition(": ")[2] for event in events if event.note] == ["not finished in 12 s", "SIGSEGV"]
    assert not list(store.root.rglob("cells/.*"))

    unwatched = Store(tmp_path / "unwatched")
    run_suite(sound(), unwatched)
    for key in (cell.key for cell in plan(sound())):
        assert store.cell(key)["npz_sha256"] == unwatched.cell(key)["npz_sha256"]
    assert run_watched(sound(), store, events.append, orders).new == 0  # and no process is started for that


def test_a_time_out_stands_until_a_run_allows_more() -> None:
    kept = {"status": "failed", "message": "time-out: not finished in 60 s", "counts": {"limit": 60.0}}
    assert settled(kept, 60) and settled(kept, 30) and not settled(kept, 61) and not settled(kept, 0)
    assert not settled(kept | {"message": "crashed: SIGSEGV", "counts": {}}, 60)
    assert settled(kept | {"message": "diverged: a state is not finite", "counts": {}}, 60)

"""A run on Ray: the results of one process, bit for bit, though a worker is killed; and workers that always die, or hang."""

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from scorebench.bench import blocks, cluster, crew
from scorebench.bench.cells import plan
from scorebench.bench.cluster import run_on_ray
from scorebench.bench.rows import load_rows
from scorebench.bench.runner import Event, Orders, run_suite
from scorebench.bench.store import Store
from scorebench.bench.suite import Likelihood, ModelEntry, SolverEntry, Suite, Timing
from scorebench.bench.upkeep import verify
from scorebench.reference_models.errors import UsageError
from scorebench.solvers.facts import ALIASES, SOLVERS
from scorebench.solvers.registry import load_plugin

FRAGILE = """
import os, time
from pathlib import Path
from scorebench.bench import blocks
from scorebench.solvers.facts import Reference, solver

KILLED = Path(__file__).with_name("killed")
blocks.BLOCK = 16  # in workers too: cells of 40 samples are large

@solver("fragile", order=None, reference=Reference("Nobody", "Nothing", "none"))
def fragile(problem, x, grid):
    if not KILLED.exists():
        KILLED.touch()
        os.kill(os.getpid(), 9)  # the worker is lost, once
    yield float(grid[-1]), 0.5 * x

@solver("doomed", order=None, reference=Reference("Nobody", "Nothing", "none"))
def doomed(problem, x, grid):
    os.kill(os.getpid(), 9)
    yield 0.0, x

@solver("endless", order=None, reference=Reference("Nobody", "Nothing", "none"))
def endless(problem, x, grid):
    time.sleep(600)
    yield 0.0, x
"""
SUITE = Suite(
    name="cluster",
    budgets=[5],
    models=[ModelEntry(address="exact:gaussian", n=16)],
    solvers=[SolverEntry(id=id) for id in ("exp-ab2", "fragile", "doomed", "endless")],
    metrics=["error_median", "likelihood_error", "time_ms"],
)
FINE = SUITE.model_copy(update={"solvers": SUITE.solvers[:1]})
SOUND = SUITE.model_copy(
    update={
        "solvers": [SolverEntry(id="exp-ab2"), SolverEntry(id="ddim", options={"eta": 1.0}), SolverEntry(id="fragile")],
        "models": [ModelEntry(address="exact:gmm", n=40)],
        "likelihood": Likelihood(models=["exact:gmm"], images=4),
        "timing": Timing(models=["exact:gmm"], batches=[4], rounds=2),
    }
)


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "fragile.py"
    path.write_text(FRAGILE)
    usual = blocks.BLOCK
    load_plugin(str(path))
    yield path
    blocks.BLOCK = usual
    for id in ("fragile", "doomed", "endless"):
        SOLVERS.pop(id)
        ALIASES.pop(id, None)


def test_ray_measures_what_one_process_measures_and_loses_nothing(plugin: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    store, events, orders = Store(tmp_path / "ray"), list[Event](), Orders(prepare=partial(load_plugin, str(plugin)))
    outcome = run_on_ray(SOUND, store, events.append, orders, "local:2")
    assert (outcome.cells, outcome.new, outcome.failed) == (8, 8, 0)
    assert plugin.with_name("killed").exists()
    assert {key for event in events for key in event.done} == set(store.keys("cells"))
    assert not list(store.root.glob("parts/*"))

    alone = Store(tmp_path / "alone")
    run_suite(SOUND, alone)
    assert alone.keys("cells") == store.keys("cells") and not verify(store).damaged
    for key in alone.keys("cells"):
        ours, theirs = store.cell(key), alone.cell(key)
        if ours["config"]["pass"] != "time":
            assert ours["counts"] == theirs["counts"]
            arrays = alone.arrays(key)
            assert all(np.array_equal(value, arrays[name]) for name, value in store.arrays(key).items())
            assert store.read_json(f"metrics/{key}.json") == alone.read_json(f"metrics/{key}.json")
    assert run_suite(SOUND, store).new == 0


def test_a_worker_that_always_dies_or_hangs_costs_its_cell_alone(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(crew, "ATTEMPTS", 2)
    store, prepare = Store(tmp_path / "store"), partial(load_plugin, str(plugin))
    outcome = run_on_ray(SUITE, store, lambda event: None, Orders(limit=15.0, prepare=prepare), "local:2")
    rows = load_rows(store).drop_duplicates("cell").set_index("solver")
    assert (outcome.cells, outcome.new, outcome.failed) == (4, 4, 2)
    assert rows.loc["doomed", "message"] == "crashed: worker lost 2 times (WorkerCrashedError)"
    assert rows.loc["endless", "message"] == "time-out: not finished in 15 s"
    assert (rows.loc[["exp-ab2", "fragile"], "status"] == "ok").all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_the_driver_needs_no_gpu_but_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster is pretended: it has a GPU or not, and its workers are handed tasks and do nothing."""
    ray, there = pytest.importorskip("ray"), dict[str, float]()

    def results(hands: crew.Crew) -> Iterator[tuple[crew.Task, crew.Files | str]]:
        return ((task, "no such worker") for task in hands.waiting)

    monkeypatch.setattr(cluster, "connected", nullcontext)
    monkeypatch.setattr(cluster, "_sweep", lambda job: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: there)
    monkeypatch.setattr(ray, "put", lambda value: value)
    monkeypatch.setattr(crew.Crew, "results", results)
    run = partial(run_on_ray, tell=lambda event: None, orders=Orders(), address="there:6379")
    moved = FINE.model_copy(update={"device": "cuda"})
    with pytest.raises(UsageError, match="the Ray cluster at 'there:6379' has no GPU; or run with --device cpu"):
        run(moved, Store(tmp_path / "store"))
    assert not (tmp_path / "store").exists()
    there["GPU"] = 1.0
    outcome = run(moved, Store(tmp_path / "store"))
    assert (outcome.new, outcome.failed) == (1, 1)
    with pytest.raises(UsageError, match="sees no GPU here"):
        run(moved.model_copy(update={"timing": Timing(models=["exact:gaussian"])}), Store(tmp_path / "timed"))


def test_what_others_need_and_what_takes_long_comes_first() -> None:
    models = [ModelEntry(address="exact:gmm", n=40), ModelEntry(address="exact:gaussian", n=16)]
    noisy = SolverEntry(id="ddim", options={"eta": 1.0})
    change = {"models": models, "budgets": [5, 20], "solvers": [noisy, *FINE.solvers]}
    found = cluster.in_turn(plan(FINE.model_copy(update=change)))
    told = [(c.config["model"].removeprefix("exact:"), c.config["kind"], c.config["budget"]) for c in found]
    assert told[:2] == [("gaussian", "ode", 5), ("gmm", "ode", 5)]  # 16 dimensions, and 2
    assert told[2:4] == [("gaussian", "sde", 20), ("gmm", "sde", 20)] and told[-1] == ("gmm", "ode", 20)
    assert len(told) == 8


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "no Ray cluster at 'nonsense'"),
        ("local:two", "give a number of workers, as in local:2"),
        ("127.0.0.1:1", "no Ray cluster at '127.0.0.1:1'.* for this machine alone: --ray local"),
    ],
)
def test_a_wrong_address_is_one_line(address: str, message: str, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match=message):
        run_on_ray(FINE, Store(tmp_path / "store"), lambda event: None, Orders(), address)
    assert not (tmp_path / "store").exists()

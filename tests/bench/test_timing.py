"""The time pass tells a solver's own time from that of the network calls in it."""

import time

import numpy as np
import pytest
import torch
from torch import Tensor

from scorebench.bench.cells import plan
from scorebench.bench.quality import time_rows
from scorebench.bench.suite import ModelEntry, SolverEntry, Suite, Timing
from scorebench.bench.timing import Watched, anchor_of, time_panel
from scorebench.reference_models.addresses import load_model

SUITE = Suite(
    name="s",
    budgets=[6],
    models=[ModelEntry(address="exact:gaussian")],
    solvers=[SolverEntry(id=id) for id in ("ddim", "heun", "euler-maruyama")],
    sampling=False,
    timing=Timing(models=["exact:gaussian"], batches=[4], rounds=3),
)
TIMED = {"timing": Timing(models=["digits-vp"], batches=[16], rounds=3), "sampling": False}


def burn(milliseconds: float) -> None:
    end = time.process_time() + milliseconds / 1e3
    while time.process_time() < end:
        pass


def test_a_watched_model_is_the_model_and_knows_how_long_a_call_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("exact:gmm")
    x, t = torch.ones(2, 2), torch.tensor(0.5, dtype=torch.float64)
    watched, plain = Watched(model), model.denoise(x, t)

    def slow(x: Tensor, t: Tensor) -> Tensor:
        burn(4)
        return plain

    monkeypatch.setattr(model, "denoise", slow)
    assert watched.process is model.process and watched.shape == model.shape
    assert watched.denoise(x, t) is plain and watched.denoise(x, t) is plain
    wall, cpu = watched.per_call()
    assert 4 <= cpu < 8 and wall >= 4
    assert watched.per_call() == (0.0, 0.0)


def test_every_call_of_a_network_is_watched() -> None:
    """Also where it gives what a solver asks for without D."""
    cells = plan(
        SUITE.select(["digits-vp"], ["ddim", "heun", "dpmpp-2m", "pc", "stork-4"], [12]).model_copy(update=TIMED)
    )
    arrays, calls = time_panel(cells, anchor_of(cells[0]))
    for found, spent in zip(arrays, calls, strict=True):
        share = spent * found["network_cpu_ms"] / found["cpu_ms"]
        assert np.all(share < 1) and np.median(share) > 0.8


def test_what_burns_in_the_network_is_no_overhead_and_what_burns_outside_is(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = plan(SUITE)
    model, info = cells[0].model, cells[0].info
    denoise = model.denoise

    def slow(x: Tensor, t: Tensor) -> Tensor:
        burn(3)
        return denoise(x, t)

    monkeypatch.setattr(model, "denoise", slow)
    arrays, calls = time_panel(cells, anchor_of(cells[0]))
    for cell, found, spent in zip(cells, arrays, calls, strict=True):
        values = {row["metric"]: row["value"] for row in time_rows(found, cell.config, spent)}
        assert spent <= 6 and np.all(found["network_cpu_ms"] >= 3)
        assert values["cpu_ms"] >= 3 * spent and values["overhead_ms"] < 0.2 * values["time_ms"]
        assert values["time_in_calls"] == pytest.approx(spent, rel=0.2)
    method = info.method

    def slower(*arguments: object, **options: object):  # type: ignore[no-untyped-def]
        for state in method(*arguments, **options):
            burn(3)
            yield state

    object.__setattr__(info, "method", slower)
    try:
        arrays, calls = time_panel(cells[:1], anchor_of(cells[0]))
    finally:
        object.__setattr__(info, "method", method)
    values = {row["metric"]: row["value"] for row in time_rows(arrays[0], cells[0].config, calls[0])}
    assert values["time_in_calls"] == pytest.approx(2 * calls[0], rel=0.2) and values["overhead_ms"] >= 3 * calls[0]

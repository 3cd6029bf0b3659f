"""Large cells in blocks: each sample, count and row is what it is without, and an interrupted cell has its blocks already."""

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from scorebench.bench import blocks, cells, measure
from scorebench.bench.cells import plan
from scorebench.bench.features import Extractor
from scorebench.bench.runner import run_suite
from scorebench.bench.store import Store
from scorebench.bench.suite import ModelEntry, SolverEntry, Suite

MODEL = """
from scorebench.reference_models.process import make_process

class Narrow:
    \"\"\"Data N(0, ¼): each number alone, so that no batch changes how sums are rounded.\"\"\"
    name, shape, data, process = "narrow", (2,), None, make_process("vp")

    def denoise(self, x, t):
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        return (0.25 * alpha / (0.25 * alpha**2 + sigma**2)).to(x).reshape(-1, 1) * x
"""
SUITE = Suite(
    name="large",
    budgets=[6],
    models=[ModelEntry(address="exact:gmm", n=96)],
    solvers=[
        SolverEntry(id="exp-ab2"),
        SolverEntry(id="ddim", options={"eta": 0.5}),
        SolverEntry(id="rk45", ladder=[{"rtol": 1e-2, "atol": 1e-2}]),
    ],
    noise_seeds=2,
)


def test_a_split_cell_is_the_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, statistics too, which are taken of all samples together."""
    (tmp_path / "narrow.py").write_text(MODEL)
    suite = SUITE.model_copy(update={"models": [ModelEntry(address=f"python:{tmp_path}/narrow.py:Narrow", n=96)]})
    whole, split = Store(tmp_path / "whole"), Store(tmp_path / "split")
    run_suite(suite, whole)
    monkeypatch.setattr(blocks, "BLOCK", 32)
    assert [(r.start, r.stop) for r in blocks.of(90)] == [(0, 32), (32, 64), (64, 90)]
    run_suite(suite, split)
    assert whole.keys("cells") == split.keys("cells")
    for cell in plan(suite):
        one, two = whole.cell(cell.key), split.cell(cell.key)
        assert one["status"] == two["status"] == "ok" and two["message"] == ""
        assert two["counts"] == one["counts"] | {"batch": 32}
        assert one["npz_sha256"] == two["npz_sha256"]
        arrays, others = whole.arrays(cell.key), split.arrays(cell.key)
        assert arrays.keys() == others.keys() and len(arrays["index"]) == 96
        for name, array in arrays.items():
            np.testing.assert_array_equal(others[name], array, err_msg=name)
        rows = [store.read_json(f"metrics/{cell.key}.json")["rows"] for store in (whole, split)]
        assert rows[0] == rows[1]
    assert not list(split.root.glob("parts/*"))


def test_an_interrupted_cell_goes_on_with_its_next_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = SUITE.model_copy(update={"solvers": SUITE.solvers[:1], "metrics": ["error_median"]})
    store, sizes, solve = Store(tmp_path / "store"), list[int](), measure.solve

    def interrupted(model, info, grid, x, **keywords):  # type: ignore[no-untyped-def]
        sizes.append(len(x))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return solve(model, info, grid, x, **keywords)

    monkeypatch.setattr(blocks, "BLOCK", 32)
    monkeypatch.setattr(measure, "solve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_suite(suite, store)
    assert len(list(store.root.glob("parts/*"))) == 2 and not store.keys("cells")
    assert run_suite(suite, store).failed == 0
    assert sizes == [32, 32, 32, 32] and not list(store.root.glob("parts/*"))


def test_images_are_dropped_as_their_batch_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a block of several batches, by each of two noise seeds, and those of the reference solution."""
    seen, alive, batches = list[weakref.ref[torch.Tensor]](), list[int](), blocks.in_batches

    def extract(x: torch.Tensor) -> np.ndarray:
        seen.append(weakref.ref(x))
        alive.append(sum(image() is not None for image in seen))
        return x.flatten(1).float().numpy().copy()

    def of_eight(work, n):  # type: ignore[no-untyped-def]
        monkeypatch.setattr(blocks, "BLOCK", 8)
        try:
            return batches(work, n)
        finally:
            monkeypatch.setattr(blocks, "BLOCK", 32)

    monkeypatch.setattr(blocks, "BLOCK", 32)
    monkeypatch.setattr(measure, "in_batches", of_eight)
    monkeypatch.setattr(cells, "extractor_of", lambda model: Extractor("counted", "counted", extract))
    change = {"models": [ModelEntry(address="exact:gaussian", n=96)], "solvers": SUITE.solvers[:2]}
    suite = SUITE.model_copy(update=change | {"metrics": ["error_median", "fid", "excess_fid"]})
    assert run_suite(suite, Store(tmp_path / "store")).failed == 0
    assert len(seen) >= 3 * 12 and max(alive) == 1

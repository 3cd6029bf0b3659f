"""What stands beside the cells of a store."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from scorebench.bench import facts
from scorebench.bench.cells import plan
from scorebench.bench.likelihood_codes import interpolations
from scorebench.bench.model_card import facts_of
from scorebench.bench.store import Store
from scorebench.bench.suite import ModelEntry, RoundTrip, SolverEntry, Suite
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import Model

SUITE = Suite(
    name="trips",
    sampling=False,
    budgets=[4],
    models=[ModelEntry(address="exact:ppca-fashion"), ModelEntry(address="exact:gmm")],
    solvers=[SolverEntry(id="ddim")],
    round_trip=RoundTrip(models=["exact:ppca-fashion", "exact:gmm"], images=2),
)


def test_interpolations_are_made_once_of_image_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, made = Store(tmp_path / "store").open_for_writing(), list[str]()

    def counted(model: Model, dtype: torch.dtype) -> Tensor:
        made.append(model.name)
        return torch.full((1, 3, *model.shape), len(made), dtype=dtype)

    monkeypatch.setattr(facts, "interpolations", counted)
    for _ in range(2):
        facts.write_interpolations(store, plan(SUITE), lambda _: None)
    assert made == ["exact:ppca-fashion"]
    kept = store.reference("interpolation-exact-ppca-fashion")
    assert kept is not None and kept["rows"].shape == (1, 3, 1, 28, 28)
    monkeypatch.setattr(facts, "fingerprint", lambda *_: "other code")
    facts.write_interpolations(store, plan(SUITE), lambda _: None)
    assert len(made) == 2


def test_rows_go_from_one_image_to_the_other() -> None:
    """Decoded ends come back to the images, to 0.1 in pixels from −1 to 1, and the middle is neither."""
    rows = interpolations(load_model("exact:ppca-fashion"), torch.float32, pairs=1, count=3).numpy()[0]
    first, back, middle, forth, last = rows

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(np.mean((a - b) ** 2)))

    assert distance(first, back) < 0.1 and distance(last, forth) < 0.1
    assert min(distance(middle, first), distance(middle, last)) > 0.2
    with pytest.raises(UsageError, match="no images to interpolate"):
        interpolations(load_model("exact:gmm"), torch.float32)


def test_the_size_of_a_model_is_told_whether_it_is_a_network_or_exact() -> None:
    assert facts_of(load_model("digits-vp"))["parameters"] == "107,273"
    assert facts_of(load_model("exact:gmm"))["parameters"] == "20"

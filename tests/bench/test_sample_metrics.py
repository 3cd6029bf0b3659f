"""Metric rows of sample cells: what each is compared with, that floors stand beside them, and that planted faults show."""

from math import e, log, tau

import numpy as np
import pytest
import torch

from scorebench.bench import moments
from scorebench.bench.features import classes_of, exact_draws
from scorebench.bench.metrics import Metrics
from scorebench.bench.runner import cells_of, run_suite
from scorebench.bench.sample_metrics import MANIFOLD, Exact, class_row, error_rows, feature_rows
from scorebench.bench.sides import DISTANCES, Sides
from scorebench.bench.store import Json, Store
from scorebench.bench.suite import ModelEntry, SolverEntry, Suite
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.gaussian import Gaussian

ALL = {*DISTANCES, "precision", "recall"}


@pytest.fixture(scope="module")
def sides() -> Sides:
    draws = np.random.default_rng(0)
    real, other, reference = (draws.normal(size=(n, 3)) for n in (MANIFOLD + 200, MANIFOLD, MANIFOLD))
    return Sides("identity", real, other, reference)


def by_metric(rows: list[Json]) -> dict[str, Json]:
    return {row["metric"]: row for row in rows}


def test_perfect_samples_lie_at_the_floors_and_biased_ones_above(sides: Sides) -> None:
    draws = np.random.default_rng(1).normal(size=(1, MANIFOLD, 3))
    good, bad = (by_metric(feature_rows(x, sides, ALL)) for x in (draws, 1.3 * draws + 0.2))
    assert set(good) == ALL
    for name, row in good.items():
        assert row["low"] <= row["value"] <= row["high"] and row["features"] == "identity"
        if name in DISTANCES:
            width = row["high"] - row["low"]
            assert abs(row["value"] - row["floor"]) < width < bad[name]["value"] - row["value"]
    assert bad["precision"]["high"] < good["precision"]["floor"] - 0.03


def test_the_reference_exceeds_itself_by_nothing(sides: Sides) -> None:
    excess = by_metric(feature_rows(sides.reference[None], sides, {"excess_fid"}))["excess_fid"]
    assert excess["value"] == excess["low"] == excess["high"] == 0


def test_noise_seeds_are_averaged(sides: Sides) -> None:
    sets = np.random.default_rng(2).normal(size=(3, 300, 3)) * np.array([1.0, 1.2, 1.4])[:, None, None]
    whole = by_metric(feature_rows(sets, sides, ALL))
    each = [by_metric(feature_rows(one[None], sides, ALL)) for one in sets]
    for name, row in whole.items():
        assert row["value"] == pytest.approx(np.mean([rows[name]["value"] for rows in each]))
        assert row["without"] == pytest.approx(np.mean([rows[name]["without"] for rows in each], axis=0))


def test_too_few_samples_give_no_row(sides: Sides) -> None:
    few = np.random.default_rng(3).normal(size=(1, 35, 3))
    assert feature_rows(few, sides, ALL) == []
    lacking = Sides("identity", sides.real[:30], None, sides.reference)
    assert not {"kid", "sliced_wasserstein"} & set(by_metric(feature_rows(few, lacking, {"kid", "sliced_wasserstein"})))
    wide = np.random.default_rng(3).normal(size=(1, 90, 50))
    wide_sides = Sides("identity", wide[0], None, wide[0])
    assert set(by_metric(feature_rows(wide, wide_sides, ALL))) == {"kid", "sliced_wasserstein"}  # 90 < 2 · 50
    assert set(by_metric(feature_rows(np.tile(few, (1, 2, 1)), sides, ALL))) == set(DISTANCES)


def test_below_the_floor_is_called_memorisation() -> None:
    draws = np.random.default_rng(4)
    real = draws.normal(size=(2000, 3))
    found = [Sides("identity", real, other, real[:400]) for other in (3 + draws.normal(size=(400, 3)), real[400:800])]
    notes = [by_metric(feature_rows(real[None, :400], s, {"fid"}))["fid"].get("note", "") for s in found]
    assert "memorisation" in notes[0] and notes[1] == ""


def test_perfect_samples_are_not_called_memorisation() -> None:
    """The floor is one draw: judged by the samples' error alone, one in fourteen would lie below it."""
    draws, notes = np.random.default_rng(8), list[str]()
    for _ in range(60):
        real, other, good = (draws.normal(size=(n, 16)) for n in (2000, 200, 200))
        (row,) = feature_rows(good[None], Sides("identity", real, other, good), {"fid"})
        assert row["floor_low"] < row["floor"] < row["floor_high"]
        notes.append(row.get("note", ""))
    assert notes == [""] * 60


def test_classes_are_a_mixtures_components_and_the_classifiers() -> None:
    mixture = load_model("exact:gmm?score_error=0.1")
    told = classes_of(mixture)
    assert told is not None
    centres = mixture.model.means  # type: ignore[attr-defined]
    assert told(centres.float().numpy()).tolist() == [0, 1, 2, 3, 4]
    assert class_row(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 3]), "identity")["value"] == 0.25
    assert classes_of(load_model("exact:gaussian")) is None
    digits = classes_of(load_model("digits-vp"))
    assert digits is not None and digits(np.zeros((2, 32), dtype=np.float32)).shape == (2,)


def test_errors_stand_beside_the_references_uncertainty() -> None:
    rows = by_metric(error_rows(np.linspace(1, 2, 101), np.linspace(0, 0.1, 101)))
    assert rows["error_median"]["floor"] == pytest.approx(0.05)
    assert rows["error_p90"]["floor"] == pytest.approx(0.09)


def test_cross_entropy_of_exact_draws_is_the_entropy_and_a_wrong_scale_shows() -> None:
    model = load_model("exact:gaussian")
    assert isinstance(model, Gaussian)
    t = torch.tensor(model.process.t_min, dtype=torch.float64)
    variance = model.process.alpha(t) ** 2 * model.variances + model.process.sigma(t) ** 2
    entropy = float(0.5 * torch.log(tau * e * variance).mean()) / log(2)
    draws = exact_draws(model, 4000, seed=3)
    floor = Exact("identity", moments.target(model), draws.numpy(), model.log_prob(draws, t).numpy())
    for scale, within in ((1.0, True), (1.1, False)):
        x = scale * exact_draws(model, 2000, seed=5)
        rows = by_metric(floor.rows(x.numpy()[None], model.log_prob(x, t).numpy()[None], 16))
        assert (rows["cross_entropy"]["low"] < entropy < rows["cross_entropy"]["high"]) == within
        assert rows["cross_entropy"]["floor"] == pytest.approx(entropy, abs=0.01)
        moment = rows["moments_frechet"]
        assert (moment["value"] < 3 * moment["floor"]) == within


def test_leading_coordinates_hold_the_largest_variances() -> None:
    model = load_model("exact:gaussian-fashion")
    assert isinstance(model, Gaussian)
    target, extract = moments.target(model), moments.coordinates(model).extract
    t = torch.tensor(model.process.t_min, dtype=torch.float64)
    expected = model.process.alpha(t) ** 2 * model.variances.sort(descending=True)[0][:64] + model.process.sigma(t) ** 2
    assert np.diag(target.covariance) == pytest.approx(expected.numpy(), rel=1e-9)
    assert np.abs(target.covariance - np.diag(np.diag(target.covariance))).max() < 1e-9
    inside = extract(exact_draws(model, 500))
    assert inside.shape == (500, 64)
    deviations = (inside.mean(0) - target.mean) / np.sqrt(expected.numpy() / 500)
    assert np.abs(deviations).max() < 5


@pytest.fixture(scope="module")
def stochastic(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A stochastic and a deterministic solver on the mixture, with three noise seeds."""
    solvers = [SolverEntry(id="ddim", options={"eta": 1.0}), SolverEntry(id="ddim"), SolverEntry(id="pc")]
    models = [ModelEntry(address="exact:gmm", n=60)]
    suite = Suite(name="noise", budgets=[6], models=models, solvers=solvers, noise_seeds=3)
    store = Store(tmp_path_factory.mktemp("noise") / "store")
    assert run_suite(suite, store).failed == 0
    return store, cells_of(suite, store)


def test_a_stochastic_solver_has_noise_seeds_and_no_error_of_its_path(stochastic) -> None:  # type: ignore[no-untyped-def]
    store, cells = stochastic
    for cell in cells:
        arrays, rows = store.arrays(cell.key), store.read_json(f"metrics/{cell.key}.json")["rows"]
        random = cell.config["kind"] == "sde"
        assert arrays["features"].shape == ((3 if random else 1), 60, 2)
        assert arrays["nfe"].shape == arrays["log_p"].shape == ((3 if random else 1), 60)
        assert ("error" in arrays) == (not random) == ("noise_seeds" not in cell.config)
        assert {"error_median", "class_changed"}.isdisjoint({r["metric"] for r in rows}) == random
        if random:
            assert np.abs(arrays["features"][0] - arrays["features"][1]).mean() > 0.05


def test_replicates_are_kept_by_which_cells_pair(stochastic) -> None:  # type: ignore[no-untyped-def]
    store, cells = stochastic
    kept = store.read_json(f"metrics/{cells[0].key}.json")
    fid = by_metric(kept["rows"])["fid"]
    assert "without" not in fid and len(kept["replicates"]["fid[identity]"]) == 20
    assert np.mean(kept["replicates"]["fid[identity]"]) == pytest.approx(fid["value"], rel=0.2)


def test_metrics_are_made_again_without_sampling(stochastic, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    store, cells = stochastic
    before = store.read_json(f"metrics/{cells[1].key}.json")
    monkeypatch.setattr("scorebench.bench.measure.solve", None)
    few = Metrics(store, ["kid"])
    (store.root / "metrics" / f"{cells[1].key}.json").unlink()
    few.update(cells[1])
    assert [r["metric"] for r in store.read_json(f"metrics/{cells[1].key}.json")["rows"]] == ["kid"]
    Metrics(store, before["wanted"]).update(cells[1])
    assert store.read_json(f"metrics/{cells[1].key}.json") == before

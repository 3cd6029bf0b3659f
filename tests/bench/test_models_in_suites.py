"""Image-scale exact models and wrong scores run through a suite like any other model."""

import numpy as np
import pytest

from scorebench.bench.rows import load_rows
from scorebench.bench.runner import run_suite
from scorebench.bench.store import Store
from scorebench.bench.suite import Likelihood, ModelEntry, SolverEntry, Suite


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    addresses = ["exact:gaussian-fashion", "exact:empirical-digits", "exact:gmm", "exact:gmm?score_error=1"]
    suite = Suite(
        name="images",
        noise_seeds=1,
        budgets=[10, 20],
        models=[ModelEntry(address=address, n=66 if "digits" in address else 130) for address in addresses],
        solvers=[SolverEntry(id="exp-ab3"), SolverEntry(id="ddim", options={"eta": 1.0})],
        likelihood=Likelihood(models=["exact:gaussian-fashion", "exact:gmm?score_error=1"], images=4),
    )
    store = Store(tmp_path_factory.mktemp("images") / "store")
    assert run_suite(suite, store).failed == 0
    return load_rows(store)


def value(rows, model: str, metric: str, budget: int, solver: str = "exp-ab3") -> float:  # type: ignore[no-untyped-def]
    chosen = rows[(rows.model == model) & (rows.metric == metric) & (rows.budget == budget) & (rows.solver == solver)]
    assert len(chosen) == 1
    return float(chosen.value.iloc[0])


def test_trajectories_at_image_scale_converge(rows) -> None:  # type: ignore[no-untyped-def]
    for model in ("exact:gaussian-fashion", "exact:empirical-digits"):
        assert value(rows, model, "error_median", 20) < 0.5 * value(rows, model, "error_median", 10)
    assert value(rows, "exact:gaussian-fashion", "likelihood_error", 20) < value(
        rows, "exact:gaussian-fashion", "likelihood_error", 10
    )


def test_features_are_those_of_the_image_shape(rows) -> None:  # type: ignore[no-untyped-def]
    named = rows[rows.metric == "fid"].groupby("model").features.unique()
    assert list(named["exact:gaussian-fashion"]) == ["fashion-cnn"] and list(named["exact:gmm"]) == ["identity"]
    assert list(named["exact:empirical-digits"]) == ["digits-cnn"]


def test_a_wrong_score_shows_in_distribution_and_not_in_the_path(rows) -> None:  # type: ignore[no-untyped-def]
    """The solver converges to the wrong ODE's solution; FID and likelihood, compared with the truth, do not improve."""
    wrong = "exact:gmm?score_error=1"
    assert value(rows, wrong, "error_median", 20) < 0.5 * value(rows, wrong, "error_median", 10)
    assert value(rows, wrong, "fid", 20) > 2 * value(rows, "exact:gmm", "fid", 20)
    assert np.isfinite(value(rows, wrong, "likelihood_bias", 20))

"""The machinery that judges intervals: it passes honest ones and fails wrong ones, a naive bootstrap of FID among them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scorebench.bench import coverage
from scorebench.bench.coverage import LIMITS, Judged, kernel, moments
from scorebench.bench.distances import Frechet, Gauss


def intervals_of_means(factor: float) -> np.ndarray:
    """Of 200 means of 30 normals, Student's intervals made wider or narrower."""
    draws = np.random.default_rng(0).normal(1.0, 2.0, size=(200, 30))
    half = factor * stats.t.ppf(0.975, 29) * stats.sem(draws, axis=1)
    return np.stack([draws.mean(1), draws.mean(1) - half, draws.mean(1) + half], 1)


@pytest.mark.parametrize(("factor", "fine"), [(1.0, True), (0.6, False), (2.0, False)])
def test_too_narrow_and_too_wide_fail(factor: float, fine: bool) -> None:
    row = Judged("mean", "the mean", 1.0, intervals_of_means(factor)).row()
    assert row["fine"] == fine
    assert float(str(row["low"])) <= float(str(row["coverage"])) <= float(str(row["high"]))


def test_a_biased_centre_fails() -> None:
    assert not Judged("mean", "the mean", 1.4, intervals_of_means(1.0)).row()["fine"]


def test_a_naive_bootstrap_of_fid_fails_where_the_corrected_interval_does_not() -> None:
    """Resampling adds the bias of FID once more: its percentiles miss the true distance nearly always."""
    rng = np.random.default_rng(1)
    target, scale = Gauss(np.zeros(4), np.eye(4)), 1.1
    true = target.distance(np.zeros(4), scale**2 * np.eye(4))
    naive, corrected = [], []
    for _ in range(60):
        x = rng.normal(size=(150, 4)) * scale
        resamples = (x[rng.integers(150, size=150)] for _ in range(40))
        values = [target.distance(y.mean(0), np.cov(y.T)) for y in resamples]
        naive.append((np.mean(values), *np.quantile(values, [0.025, 0.975])))
        corrected.append(Frechet(x, target).corrected.interval())
    wrong, right = (Judged("fid", "FID", true, np.array(i)).row() for i in (naive, corrected))
    assert not wrong["fine"] and float(str(wrong["coverage"])) < 0.5
    assert float(str(right["coverage"])) >= LIMITS[0]


def test_the_truth_of_kid_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(200, coverage.WIDTH)), rng.normal(size=(300, coverage.WIDTH)) + 0.3
    pairs = ((x @ y.T / coverage.WIDTH + 1) ** 3).mean()
    assert kernel(moments(x), moments(y)) == pytest.approx(pairs, rel=1e-9)


def test_the_committed_table_is_within_limits() -> None:
    table = pd.read_csv(Path(__file__).parents[2] / "results/coverage.csv")
    assert (table["replications"] == 200).all() and table["coverage"].between(*LIMITS).all()
    told = " ".join(table["estimator"])
    assert all(name in told for name in ("fid of", "fid_corrected", "excess_fid", "kid", "error_median", "noise seeds"))

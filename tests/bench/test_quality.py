"""Intervals, FID and the features, on data whose answer is known."""

import numpy as np
import pytest
import torch

from scorebench.bench.distances import frechet
from scorebench.bench.features import floor_features
from scorebench.bench.quality import (
    likelihood_rows,
    mean_interval,
    quantile_interval,
    row,
    share_row,
    time_rows,
)
from scorebench.reference_models import classifier, digits
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.datasets import DIGITS

rng = np.random.default_rng(0)


def test_median_interval_covers() -> None:
    """95 % intervals of the median of 101 exponential variables hold log 2 in 95 % of 2,000 trials, ± 2 %."""
    trials = rng.exponential(size=(2000, 101))
    inside = [low <= np.log(2) <= high for _, low, high in (quantile_interval(t, 0.5) for t in trials)]
    assert 0.93 < np.mean(inside) < 0.98


def test_mean_interval_covers() -> None:
    inside = [low <= 1 <= high for _, low, high in (mean_interval(t) for t in rng.normal(1, 2, size=(2000, 15)))]
    assert 0.93 < np.mean(inside) < 0.97


def test_share_interval_covers() -> None:
    """Clopper and Pearson's intervals hold at least 95 %, near 0 too."""
    for p in (0.02, 0.3):
        shares = rng.binomial(80, p, size=500) / 80
        rows = [share_row("class_changed", share, 80) for share in shares]
        assert 0.95 - 0.02 < np.mean([r["low"] <= p <= r["high"] for r in rows]) <= 1
    assert share_row("class_changed", 0.0, 80)["high"] == pytest.approx(1 - 0.025 ** (1 / 80))


def test_rows_hold_no_nan() -> None:
    assert row("fid", float("nan"), float("inf"), 1.0, "") == {
        "metric": "fid", "features": None, "unit": "", "value": None, "low": None, "high": 1.0,
        "floor": None, "floor_low": None, "floor_high": None,
    }  # fmt: skip


def test_likelihood_and_time_rows() -> None:
    error = np.array([0.1, -0.1, 0.3, -0.1])
    values = {r["metric"]: r["value"] for r in likelihood_rows(error, error + 2)}
    assert values == pytest.approx({"likelihood_error": 0.15, "likelihood_bias": 0.05, "nll": 2.05})
    wall = np.array([10.0, 12.0, 11.0])
    arrays = {"wall_ms": wall, "cpu_ms": wall, "launch_ms": wall, "anchor_ms": wall / 2, "network_ms": wall - 9}
    config = {"pass": "time", "n": 22, "threads": 1}
    rows = time_rows(arrays, config, calls=2)
    assert {r["metric"]: r["value"] for r in rows} == {
        "time_ms": 11.0, "cpu_ms": 11.0, "time_ratio": 2.0, "throughput": 2000.0, "overhead_ms": 7.0
    }  # fmt: skip
    assert rows[0]["note"] == ""
    counted = time_rows(arrays | {"network_cpu_ms": wall / 5}, config, calls=2)
    assert {r["metric"]: r["value"] for r in counted}["time_in_calls"] == pytest.approx(5.0)
    likelihood = time_rows(arrays, config | {"pass": "likelihood-time"}, calls=2)
    assert [r["metric"] for r in likelihood] == [
        f"likelihood_{name}" for name in ("ms", "cpu_ms", "time_ratio", "throughput")
    ]


def test_times_say_what_disturbed_them() -> None:
    wall = np.array([10.0, 12.0, 11.0])
    arrays = dict.fromkeys(("wall_ms", "cpu_ms", "launch_ms", "anchor_ms", "network_ms"), wall)
    config = {"pass": "time", "n": 1, "threads": 1}
    shared = arrays | {"cpu_ms": wall * np.array([1.0, 0.9, 0.5])}
    assert time_rows(shared, config, 1)[0]["note"] == "2 of 3 rounds beside other work"
    assert time_rows(shared, config | {"threads": 2}, 1)[0]["note"] == ""
    assert time_rows(arrays, config, 1, cuda=True)[0]["note"] == "launch-bound: the device waits for its kernels"
    assert time_rows(arrays | {"launch_ms": wall / 2}, config, 1, cuda=True)[0]["note"] == ""


@pytest.mark.parametrize("name", ["digits-cnn", "fashion-cnn"])
def test_fid_grows_with_noise_blur_and_dropped_classes(name: str) -> None:
    """On each classifier's features, from what ships: no data set is read."""
    network, _ = classifier.load_classifier(name)
    shipped, data = classifier.real(name), classifier.RECIPES[name].data
    images = data.dequantise(shipped.images)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None] / 16
    blurred = [images]
    for _ in range(3):
        blurred.append(
            torch.nn.functional.conv2d(torch.nn.functional.pad(blurred[-1], (1, 1, 1, 1), value=-1.0), kernel)
        )

    def fid(pixels: torch.Tensor) -> float:
        with torch.no_grad():
            return frechet(network.features(classifier.to_levels(name, pixels)).numpy(), shipped.heldout)

    classes = [classifier.real(name, label).train for label in range(10)]
    dropped = [frechet(np.concatenate(classes[:k]), shipped.heldout) for k in (10, 9, 7, 5)]
    for values in ([fid(images + s * noise) for s in (0.0, 0.1, 0.2, 0.4, 0.8)], [fid(b) for b in blurred], dropped):
        assert values == sorted(set(values)) and values[-1] > 2 * values[0]


def test_floor_is_at_equal_n_or_absent() -> None:
    model = load_model("digits-vp")
    assert floor_features(model, 1001) is None
    assert len(floor_features(load_model("exact:gmm"), 300)) == 300  # type: ignore[arg-type]


def test_quantisation_inverts_dequantisation() -> None:
    levels = DIGITS.levels("heldout")
    uniform = torch.rand(levels.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(DIGITS.quantise(DIGITS.dequantise(levels, uniform)), levels)
    assert len(levels) == 797 and len(DIGITS.levels("train")) == 1000
    assert not set(digits.indices("train").tolist()) & set(digits.indices("heldout").tolist())

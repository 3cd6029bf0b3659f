"""Quality of a sample cell from its arrays: errors with exact intervals, FID with the jackknife's. No sampling here."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from scorebench.reference_models.torchvision_repair import repair

from .store import Json

GROUPS = 20  # of the delete-group jackknife
METRICS = tuple(
    "error_median error_p90 fid excess_fid likelihood_error likelihood_bias nll round_trip_error "
    "time_ms cpu_ms time_ratio likelihood_ms likelihood_cpu_ms likelihood_time_ratio".split()
)


def row(metric: str, value: float, low: float | None, high: float | None, unit: str, **more: object) -> Json:
    """A metric row; a number that is not finite becomes null."""
    numbers = {
        k: float(v) if v is not None and np.isfinite(v) else None
        for k, v in (("value", value), ("low", low), ("high", high))
    }
    return {"metric": metric, "features": None, "unit": unit, "floor": None, **numbers, **more}


def quantile_interval(values: np.ndarray, q: float, level: float = 0.95) -> tuple[float, float, float]:
    """A sample quantile and its exact, distribution-free interval between two order statistics; values (n,)."""
    ordered, n = np.sort(values), len(values)
    low = int(stats.binom.ppf((1 - level) / 2, n, q)) - 1
    high = int(stats.binom.ppf((1 + level) / 2, n, q))
    return float(np.quantile(ordered, q)), float(ordered[max(low, 0)]), float(ordered[min(high, n - 1)])


def mean_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """A mean and its Student interval; values (n,)."""
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values))
    return float(values.mean()), float(values.mean()) - half, float(values.mean()) + half


def error_rows(error: np.ndarray) -> list[Json]:
    """Median and 90 % quantile of the per-sample error (n,)."""
    unit = "rms per dimension"
    return [
        row("error_median", *quantile_interval(error, 0.5), unit),
        row("error_p90", *quantile_interval(error, 0.9), unit),
    ]


def frechet(features: np.ndarray, real: np.ndarray) -> float:
    """Fréchet distance between the Gaussians fitted to two sets of features (n, k) and (m, k), by torch-fidelity."""
    repair()
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    one, two = (fid_features_to_statistics(torch.from_numpy(f.astype(np.float64))) for f in (features, real))
    return float(fid_statistics_to_metric(one, two, False)[KEY_METRIC_FID])


@dataclass(frozen=True)
class Jackknifed:
    """A statistic of n samples and its values with each of the groups of samples left out (GROUPS,)."""

    value: float
    without: np.ndarray

    def interval(self, level: float = 0.95) -> tuple[float, float, float]:
        """Value and interval by Student's t with GROUPS − 1 degrees of freedom."""
        spread = self.without - self.without.mean()
        half = float(stats.t.ppf((1 + level) / 2, GROUPS - 1) * np.sqrt((GROUPS - 1) / GROUPS * np.sum(spread**2)))
        return self.value, self.value - half, self.value + half

    def __sub__(self, other: "Jackknifed") -> "Jackknifed":
        return Jackknifed(self.value - other.value, self.without - other.without)


def jackknifed_frechet(features: np.ndarray, real: np.ndarray) -> Jackknifed:
    """Fréchet distance to real (m, k), with samples left out by index modulo GROUPS: the same groups in every cell."""
    group = np.arange(len(features)) % GROUPS
    without = np.array([frechet(features[group != g], real) for g in range(GROUPS)])
    return Jackknifed(frechet(features, real), without)


def fid_rows(name: str, fid: Jackknifed, reference: Jackknifed | None, floor: float | None) -> list[Json]:
    """Raw FID beside its floor, and its excess over the reference solution's, jackknifed together."""
    value, low, high = fid.interval()
    message = ""
    if floor is not None and high < floor:
        message = "below the real-against-real floor by more than its interval: memorisation"
    rows = [row("fid", value, low, high, "", features=name, floor=floor, note=message)]
    if reference is not None:
        rows.append(row("excess_fid", *(fid - reference).interval(), "", features=name))
    return rows


def likelihood_rows(error: np.ndarray, nll: np.ndarray) -> list[Json]:
    """Signed mean and mean absolute error of −log p, and −log p itself, in bits/dim; (n,) each."""
    unit = "bits/dim"
    return [
        row("likelihood_error", *mean_interval(np.abs(error)), unit),
        row("likelihood_bias", *mean_interval(error), unit),
        row("nll", *mean_interval(nll), unit),
    ]


def round_trip_rows(error: np.ndarray) -> list[Json]:
    """Median distance (n,) of what came back from what was encoded."""
    return [row("round_trip_error", *quantile_interval(error, 0.5), "rms per dimension")]


def time_rows(arrays: dict[str, np.ndarray], prefix: str = "") -> list[Json]:
    """Median and quartiles over rounds, and the median ratio to the anchor timed in the same rounds."""

    def quartiles(values: np.ndarray) -> tuple[float, float, float]:
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        return float(middle), float(low), float(high)

    return [
        row(f"{prefix or 'time_'}ms", *quartiles(arrays["wall_ms"]), "ms"),
        row(f"{prefix}cpu_ms", *quartiles(arrays["cpu_ms"]), "ms"),
        row(f"{prefix}time_ratio", *quartiles(arrays["wall_ms"] / arrays["anchor_ms"]), ""),
    ]

"""Metric rows with their intervals, and the rows of likelihood and time cells from their arrays. No sampling here."""

from typing import Any

import numpy as np
import scipy  # whose parts are imported when they are used

from .jackknife import GROUPS, Jackknifed
from .store import Json

METRICS = tuple(
    "error_median error_p90 class_changed fid fid_corrected excess_fid kid precision recall sliced_wasserstein "
    "cross_entropy moments_frechet likelihood_error likelihood_bias nll round_trip_error "
    "time_ms cpu_ms device_ms time_ratio throughput overhead_ms time_in_calls "
    "likelihood_ms likelihood_cpu_ms likelihood_device_ms likelihood_time_ratio likelihood_throughput".split()
)
FLOOR = ("floor", "floor_low", "floor_high")
ENTRANTS = 50  # for as many comparisons with one floor is a sample called nearer to the data than data is
BUSY = 0.97  # of the wall time: less CPU time on one thread is a disturbed round, more launching a launch-bound one


def row(metric: str, value: float, low: float | None, high: float | None, unit: str, **more: object) -> Json:
    """A metric row; a number that is not finite becomes null."""
    numbers = {
        k: float(v) if v is not None and np.isfinite(v) else None
        for k, v in (("value", value), ("low", low), ("high", high))
    }
    return {"metric": metric, "features": None, "unit": unit, **dict.fromkeys(FLOOR), **numbers, **more}


def quantile_interval(values: np.ndarray, q: float, level: float = 0.95) -> tuple[float, float, float]:
    """A sample quantile and its exact, distribution-free interval between two order statistics; values (n,)."""
    ordered, n = np.sort(values), len(values)
    below = scipy.special.bdtr(
        np.arange(n + 1), n, q
    )  # the probability that at most so many values lie below the true one
    low, high = np.searchsorted(below, [(1 - level) / 2, (1 + level) / 2])
    return float(np.quantile(ordered, q)), float(ordered[max(low - 1, 0)]), float(ordered[min(high, n - 1)])


def mean_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """A mean and its Student interval; values (n,)."""
    half = float(scipy.special.stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()), float(values.mean()) - half, float(values.mean()) + half


def share_row(metric: str, share: float, n: int, **more: object) -> Json:
    """A share of n independent samples and its exact binomial interval (Clopper & Pearson)."""
    count = round(share * n)
    low = float(scipy.special.betaincinv(count, n - count + 1, 0.025)) if count else 0.0
    high = float(scipy.special.betaincinv(count + 1, n - count, 0.975)) if count < n else 1.0
    return row(metric, share, low, high, "", **more)


def jackknifed_row(metric: str, statistic: Jackknifed, features: str, floor: Jackknifed | None) -> Json:
    """A statistic with its interval, in `without` its replicates, by which cells pair, and its floor with an interval."""
    without = statistic.without.tolist() if np.isfinite(statistic.without).all() else None
    below = {} if floor is None else dict(zip(FLOOR, floor.interval(), strict=True))
    return row(metric, *statistic.interval(), "", features=features, without=without, **below)


def below_floor(rows: Any) -> Any:
    """Whether a row's distance, or each of a frame's, lies below its floor beyond the error of both, were it one of ENTRANTS.

    From 95 % intervals. Samples and what makes the floor are independent, so that variances add.
    """
    freedom = GROUPS - 1
    wider = scipy.special.stdtrit(freedom, 1 - 0.025 / ENTRANTS) / scipy.special.stdtrit(freedom, 0.975)
    errors = np.hypot(rows["high"] - rows["low"], rows["floor_high"] - rows["floor_low"]) / 2
    return rows["floor"] - rows["value"] > wider * errors


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


def time_rows(arrays: dict[str, np.ndarray], config: Json, calls: int, cuda: bool = False) -> list[Json]:
    """Medians and quartiles over the rounds of all processes, for a time cell's arrays and the calls of one solve.

    The ratio is to the anchor timed in the same round; the overhead of sampling is what its network calls leave of the time. A
    solve takes as long as so many of its calls (`time_in_calls`, with the median's interval), by CPU time, which does not pass
    while other work runs; on a GPU bare calls of the same round, by wall time. There `device_ms` is the time between events.
    """
    wall, prefix = arrays["wall_ms"], "" if config["pass"] == "time" else "likelihood_"

    def quartiles(values: np.ndarray) -> tuple[float, float, float]:
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        return float(middle), float(low), float(high)

    rows = [
        row(f"{prefix or 'time_'}ms", *quartiles(wall), "ms", note=_disturbance(arrays, config, cuda)),
        row(f"{prefix}cpu_ms", *quartiles(arrays["cpu_ms"]), "ms"),
        row(f"{prefix}time_ratio", *quartiles(wall / arrays["anchor_ms"]), ""),
        row(f"{prefix}throughput", *quartiles(1e3 * config["n"] / wall), "samples/s"),
    ]
    if "device_ms" in arrays:
        rows.insert(2, row(f"{prefix}device_ms", *quartiles(arrays["device_ms"]), "ms"))
    if prefix:
        return rows
    if "network_cpu_ms" in arrays:
        of_calls = wall / arrays["network_ms"] if cuda else arrays["cpu_ms"] / arrays["network_cpu_ms"]
        rows.append(row("time_in_calls", *quantile_interval(of_calls, 0.5), "network calls"))
    return [*rows, row("overhead_ms", *quartiles(wall - calls * arrays["network_ms"]), "ms")]


def _disturbance(arrays: dict[str, np.ndarray], config: Json, cuda: bool) -> str:
    """What kept a time from being the solver's own."""
    wall = arrays["wall_ms"]
    if cuda:
        bound = np.median(arrays["launch_ms"] / wall) > BUSY
        return "launch-bound: the device waits for its kernels" if bound else ""
    disturbed = int((arrays["cpu_ms"] < BUSY * wall).sum()) if config["threads"] == 1 else 0
    return f"{disturbed} of {len(wall)} rounds beside other work" if disturbed else ""

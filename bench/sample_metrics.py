"""The metric rows of a sample cell: paths against the reference solution, features against data, exact models against themselves.

Features come as (s, n, k), one set for each noise seed; of a stochastic solver each metric is the mean over the sets.
"""

from dataclasses import dataclass
from math import log

import numpy as np

from . import jackknife
from .distances import Frechet, Gauss, precision_recall
from .quality import FLOOR, below_floor, jackknifed_row, mean_interval, quantile_interval, row, share_row
from .sides import DISTANCES, Set, Sides
from .store import Json

PATHWISE = ("error_median", "error_p90", "class_changed")
FEATURES = (*DISTANCES, "precision", "recall")  # metrics that are taken on any features
EXACT = ("cross_entropy", "moments_frechet")  # metrics of exact models
EQUAL = ("sliced_wasserstein",)  # what compares with as many real samples
LEAST = 2 * jackknife.GROUPS  # samples of a jackknife
MANIFOLD = 1000  # samples on either side from which on precision and recall say something


def error_rows(error: np.ndarray, uncertainty: np.ndarray | None = None) -> list[Json]:
    """Median and 90 % quantile of the per-sample error (n,), beside the reference's own uncertainty (n,)."""
    floors = [None if uncertainty is None else float(np.quantile(uncertainty, q)) for q in (0.5, 0.9)]
    unit = "rms per dimension"
    return [
        row("error_median", *quantile_interval(error, 0.5), unit, floor=floors[0]),
        row("error_p90", *quantile_interval(error, 0.9), unit, floor=floors[1]),
    ]


def class_row(classes: np.ndarray, reference: np.ndarray, name: str) -> Json:
    """Share of the samples whose class (n,) is not that of the reference solution (n,)."""
    return share_row("class_changed", float(np.mean(classes != reference)), len(classes), features=name)


def feature_rows(sets: np.ndarray, sides: Sides, wanted: set[str]) -> list[Json]:
    """Distances of feature sets (s, n, k) to real ones, where there are samples enough for each."""
    n, k = sets.shape[1:]
    compared = [Set(features, sides) for features in sets]
    rows = list[Json]()
    for metric, statistic in DISTANCES.items():
        if metric not in wanted or not enough(metric, n, k, len(sides.real)):
            continue
        floor = sides.floor(metric)
        found = jackknifed_row(metric, jackknife.mean([statistic(x) for x in compared]), sides.features, floor)
        if metric == "fid" and floor is not None and below_floor(found):
            found["note"] = "below the real-against-real floor by more than both their errors: memorisation"
        rows.append(found)
    return rows + manifold_rows(sets, sides, wanted)


def enough(metric: str, n: int, k: int, real: int) -> bool:
    """Whether n samples, and as many real ones, are enough for a distance in k dimensions: halves, for FID, to have full rank."""
    least = max(LEAST, 2 * k) if "fid" in metric else LEAST
    return n > least and real > LEAST and (metric not in EQUAL or real >= n)


def manifold_rows(sets: np.ndarray, sides: Sides, wanted: set[str]) -> list[Json]:
    """Precision and recall at equal n. Each counts points of one side, and its interval holds the other side fixed."""
    names, n = ("precision", "recall"), sets.shape[1]
    if not wanted.intersection(names) or n < MANIFOLD or len(sides.real) < n:
        return []
    real = sides.real[:n]
    shares = np.mean([precision_recall(features, real) for features in sets], axis=0)
    floors = (None, None) if sides.other is None else precision_recall(sides.other, real)
    found = zip(names, shares.tolist(), floors, strict=True)
    return [share_row(name, share, n, features=sides.features, floor=floor) for name, share, floor in found]


@dataclass(frozen=True)
class Exact:
    """Of an exact model at t_min: its moments in named coordinates, and as many of its own draws (n, k) with log p (n,)."""

    features: str
    target: Gauss
    draws: np.ndarray
    log_p: np.ndarray

    def rows(self, sets: np.ndarray, log_p: np.ndarray, dimension: int) -> list[Json]:
        """Cross-entropy of the samples from their log p (s, n), and the Fréchet distance of their moments (s, n, k)."""
        unit = -dimension * log(2)
        entropy = mean_interval(self.log_p / unit)
        below = dict(zip(FLOOR, entropy, strict=True))
        rows = [row("cross_entropy", *mean_interval(log_p.mean(0) / unit), "bits/dim", **below)]
        n, k = sets.shape[1:]
        if n > max(LEAST, 2 * k):
            value = jackknife.mean([Frechet(features, self.target).raw for features in sets])
            floor = Frechet(self.draws, self.target).raw
            rows.append(jackknifed_row("moments_frechet", value, self.features, floor))
        return rows

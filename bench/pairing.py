"""Differences of entries that share their samples: by a bootstrap whose resamples all share, or by the jackknife's groups."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf, sqrt
from statistics import NormalDist

import numpy as np
import scipy  # whose parts are imported when they are used

from .jackknife import GROUPS

RESAMPLES, BLOCK = 1000, 200
LEVEL = 0.05
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]  # of ascending values and of how often each is drawn


@dataclass(frozen=True)
class Paired:
    """Deviations of k entries (k, r), scaled so that the standard error of a difference is the norm of two rows' difference.

    Where `ratios` are judged, entries are the logarithms of the values.
    """

    spread: np.ndarray
    freedom: float = inf
    ratios: bool = False

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """The entries of values (k,)."""
        return logarithm(values) if self.ratios else values

    def deviation(self, one: int) -> np.ndarray:
        """The standard error (k,) of each entry's difference to one of them; nan where it is not known."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.linalg.norm(self.spread - self.spread[one], axis=1))

    def critical(self, comparisons: int) -> float:
        """How many standard errors a difference must have to count, among so many comparisons (Bonferroni)."""
        return _critical(comparisons, self.freedom)

    def verdicts(self, values: np.ndarray, one: int, comparisons: int) -> np.ndarray:
        """+1 where entry `one` wins, its value (k,) being smaller beyond doubt, −1 where it loses, and 0 for ties; (k,)."""
        values = self.scaled(values)
        difference, half = values - values[one], self.critical(comparisons) * self.deviation(one)
        return np.asarray((difference > half).astype(int) - (difference < -half).astype(int))

    def duels(self, values: np.ndarray) -> np.ndarray:
        """`verdicts` of each entry against all others (k, k), corrected for the number of pairs."""
        from scipy.spatial import distance  # which takes half a second to import

        k, values = len(values), self.scaled(values)
        difference = values - values[:, None]
        half = self.critical(k * (k - 1) // 2) * distance.cdist(self.spread, self.spread)
        return np.asarray((difference > half).astype(int) - (difference < -half).astype(int))


@lru_cache(maxsize=1024)
def _critical(comparisons: int, freedom: float) -> float:
    return float(scipy.special.stdtrit(freedom, 1 - LEVEL / 2 / max(comparisons, 1)))


def by_sample(errors: np.ndarray, statistic: Statistic, ratios: bool = False) -> Paired:
    """Entries whose value is a statistic of per-sample errors (k, n): medians, means.

    `ratios` suit medians: of a few errors that differ by orders of magnitude a difference is far from normal, and mostly misses
    even that one median is eight times the other. They do not suit means, whose bootstrap is too narrow then.
    """
    return Paired(np.stack([_spread(row.tobytes(), statistic, ratios) for row in errors.astype(float)]), ratios=ratios)


@lru_cache(maxsize=8192)  # an entry competes at many budgets, and its resamples are the same at all
def _spread(errors: bytes, statistic: Statistic, ratios: bool) -> np.ndarray:
    """The deviations (RESAMPLES,) of one entry's statistic, or of its logarithm; `errors` are the bytes of (n,) doubles."""
    row = np.frombuffer(errors)
    order = np.argsort(row, kind="stable")
    draws = np.concatenate([statistic(row[order], times[order]) for times in _resamples(len(row))])
    if ratios:
        draws = logarithm(draws)
    with np.errstate(invalid="ignore"):
        return np.asarray((draws - draws.mean()) / np.sqrt(RESAMPLES - 1))


def logarithm(values: np.ndarray) -> np.ndarray:
    """log x of x ≥ 0, finite at 0, so that an error of 0 beats any other."""
    return np.asarray(np.log(np.maximum(values, np.finfo(float).tiny)))


@lru_cache(maxsize=2)
def _resamples(n: int) -> list[np.ndarray]:
    """How often each of n samples stands in each resample, in blocks (n, BLOCK): the same for all entries."""
    generator, small = np.random.default_rng(0), np.int16 if n < 2**15 else np.int32
    blocks = (generator.integers(n, size=(BLOCK, n)) for _ in range(RESAMPLES // BLOCK))
    return [np.stack([np.bincount(drawn, minlength=n).astype(small) for drawn in block], 1) for block in blocks]


def median(ascending: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The medians (k,) of k resamples that hold the values (n,), in ascending order, so often (n, k)."""
    n = len(ascending)
    first = max(n // 2 - ceil(4 * sqrt(n)), 0)  # farther from the middle than that no median lies (Hoeffding: 3e-14)
    until = times[first : n - first + 1].cumsum(axis=0, dtype=times.dtype)
    until += times[:first].sum(axis=0, dtype=times.dtype)
    below = [(until <= rank).view(np.uint8).sum(axis=0, dtype=np.uint32) for rank in ((n - 1) // 2, n // 2)]
    middle = [ascending[first + place] for place in below]
    with np.errstate(invalid="ignore"):
        return np.asarray((middle[0] + middle[1]) / 2)


def mean(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The means (k,) of k resamples that hold the values (n,) so often (n, k)."""
    with np.errstate(invalid="ignore"):
        return np.asarray(values @ times) / len(values)


def by_group(without: np.ndarray) -> Paired:
    """Entries whose value was jackknifed: the values with each group of samples left out (k, GROUPS)."""
    centred = without - without.mean(axis=1, keepdims=True)
    return Paired(centred * np.sqrt((GROUPS - 1) / GROUPS), GROUPS - 1)


def unpaired(halves: np.ndarray) -> Paired:
    """Entries of which only the half-widths of 95 % intervals are known (k,): variances add, which is safe."""
    return Paired(np.diag(halves / NormalDist().inv_cdf(1 - LEVEL / 2)))

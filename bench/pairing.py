"""Differences of entries that share their samples: by a bootstrap whose resamples all share, or by the jackknife's groups."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy import stats

from .jackknife import GROUPS

RESAMPLES, BLOCK = 1000, 50
LEVEL = 0.05
Statistic = Callable[..., Any]


@dataclass(frozen=True)
class Paired:
    """Deviations of k entries (k, r), scaled so that the standard error of a difference is the norm of two rows' difference."""

    spread: np.ndarray
    freedom: float = inf

    def deviation(self, one: int) -> np.ndarray:
        """The standard error (k,) of each entry's difference to one of them; nan where it is not known."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.linalg.norm(self.spread - self.spread[one], axis=1))

    def critical(self, comparisons: int) -> float:
        """How many standard errors a difference must have to count, among so many comparisons (Bonferroni)."""
        return float(stats.t.ppf(1 - LEVEL / 2 / max(comparisons, 1), self.freedom))

    def verdicts(self, values: np.ndarray, one: int, comparisons: int) -> np.ndarray:
        """+1 where entry `one` wins, its value (k,) being smaller beyond doubt, −1 where it loses, and 0 for ties; (k,)."""
        difference, half = values - values[one], self.critical(comparisons) * self.deviation(one)
        return np.asarray((difference > half).astype(int) - (difference < -half).astype(int))


def by_sample(errors: np.ndarray, statistic: Statistic) -> Paired:
    """Entries whose value is a statistic of per-sample errors (k, n): medians, means."""
    return Paired(np.stack([_spread(row.tobytes(), statistic) for row in errors.astype(float)]))


@lru_cache(maxsize=1024)  # an entry competes at many budgets, and its resamples are the same at all
def _spread(errors: bytes, statistic: Statistic) -> np.ndarray:
    """The deviations (RESAMPLES,) of one entry's statistic; `errors` are the bytes of (n,) doubles."""
    row, generator = np.frombuffer(errors), np.random.default_rng(0)
    blocks = (generator.integers(len(row), size=(BLOCK, len(row))) for _ in range(RESAMPLES // BLOCK))
    draws = np.concatenate([statistic(row[block], axis=-1) for block in blocks])
    with np.errstate(invalid="ignore"):
        return np.asarray((draws - draws.mean()) / np.sqrt(RESAMPLES - 1))


def by_group(without: np.ndarray) -> Paired:
    """Entries whose value was jackknifed: the values with each group of samples left out (k, GROUPS)."""
    centred = without - without.mean(axis=1, keepdims=True)
    return Paired(centred * np.sqrt((GROUPS - 1) / GROUPS), GROUPS - 1)


def unpaired(halves: np.ndarray) -> Paired:
    """Entries of which only the half-widths of 95 % intervals are known (k,): variances add, which is safe."""
    return Paired(np.diag(halves / NormalDist().inv_cdf(1 - LEVEL / 2)))

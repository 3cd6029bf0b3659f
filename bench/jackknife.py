"""The delete-group jackknife: intervals of statistics of samples, and of their differences where samples pair.

Sample i belongs to group i mod GROUPS in every cell, so that the difference of two cells has its own replicates: the same
groups are left out of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # whose parts are imported when they are used

GROUPS = 20


@dataclass(frozen=True)
class Jackknifed:
    """A statistic of n samples and its values with each of the groups of samples left out (GROUPS,)."""

    value: float
    without: np.ndarray

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> "Jackknifed":
        """From the values at the rows of `KEPT` (GROUPS + 1,)."""
        return cls(float(values[0]), np.asarray(values[1:], dtype=float))

    def error(self) -> float:
        """The standard error."""
        spread = self.without - self.without.mean()
        return float(np.sqrt((GROUPS - 1) / GROUPS * np.sum(spread**2)))

    def interval(self, level: float = 0.95) -> tuple[float, float, float]:
        """Value and interval by Student's t with GROUPS − 1 degrees of freedom."""
        half = float(scipy.special.stdtrit(GROUPS - 1, (1 + level) / 2)) * self.error()
        return self.value, self.value - half, self.value + half

    def __sub__(self, other: "Jackknifed") -> "Jackknifed":
        return Jackknifed(self.value - other.value, self.without - other.without)


# Which groups count (GROUPS + 1, GROUPS): all of them, then all but one.
KEPT = np.vstack([np.ones(GROUPS), 1 - np.eye(GROUPS)])


def mean(parts: Sequence[Jackknifed]) -> Jackknifed:
    """The mean over noise seeds of one statistic.

    A sample's latent and all its noises belong to its index, so that leaving groups of indices out of every seed at once
    tells of both.
    """
    without = np.mean([part.without for part in parts], axis=0)
    return Jackknifed(float(np.mean([part.value for part in parts])), without)


def by_group(x: np.ndarray) -> list[np.ndarray]:
    """The rows of x (n, …) of each group."""
    return [x[g::GROUPS] for g in range(GROUPS)]

"""Distances between the distributions of two sets of features, jackknifed: Fréchet, kernel (KID) and sliced Wasserstein.

What one side needs is computed once, and what is left out is subtracted from sums over groups. The arithmetic is that of
torch-fidelity and POT, which the tests compare with.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scorebench.reference_models.torchvision_repair import repair

from .jackknife import GROUPS, KEPT, Jackknifed, by_group

PROJECTIONS = 50  # of sliced Wasserstein
PAIRS = 2**22  # of samples at once, of which a kernel is computed
HALVES = [
    np.arange(GROUPS) // step % 2 == side for step in (1, 2, 5, 10) for side in (0, 1)
]  # four splits, ten groups each


def frechet(features: np.ndarray, real: np.ndarray) -> float:
    """Fréchet distance between the Gaussians fitted to two sets of features (n, k) and (m, k), by torch-fidelity."""
    repair()
    import torch
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    one, two = (fid_features_to_statistics(torch.from_numpy(f.astype(np.float64))) for f in (features, real))
    return float(fid_statistics_to_metric(one, two, False)[KEY_METRIC_FID])


@dataclass(frozen=True)
class Gauss:
    """The Gaussian that samples are compared with: its mean (k,) and covariance (k, k)."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def fitted(cls, real: np.ndarray) -> "Gauss":
        """To features (m, k)."""
        x = real.astype(np.float64)
        return cls(x.mean(0), np.atleast_2d(np.cov(x, rowvar=False)))

    @cached_property
    def root(self) -> np.ndarray:
        """The symmetric root of the covariance."""
        values, axes = np.linalg.eigh(self.covariance)
        return np.asarray((axes * np.sqrt(values.clip(0))) @ axes.T)

    def distance(self, mean: np.ndarray, covariance: np.ndarray) -> float:
        """Fréchet distance |m − m'|² + tr C + tr C' − 2 tr (C C')^½ to another Gaussian."""
        values = np.linalg.eigvalsh(self.root @ covariance @ self.root)
        traces = np.trace(covariance) + np.trace(self.covariance)
        return float(np.sum((mean - self.mean) ** 2) + traces - 2 * np.sqrt(values.clip(0)).sum())


class Frechet:
    """Fréchet distances of features (n, k) to a fixed Gaussian, from sums over groups."""

    def __init__(self, features: np.ndarray, target: Gauss) -> None:
        self.target, self.k, parts = target, features.shape[1], by_group(features)
        centred = (part.astype(np.float64) - target.mean for part in parts)  # a group at a time
        sums, squares = zip(*((part.sum(0), (part.T @ part).ravel()) for part in centred), strict=True)
        self.counts, self.sums, self.squares = (
            np.array([len(part) for part in parts]),
            np.array(sums),
            np.array(squares),
        )

    def of(self, kept: np.ndarray) -> float:
        """The distance of the samples in the groups that count (GROUPS,)."""
        n = kept @ self.counts
        mean = kept @ self.sums / n
        covariance = ((kept @ self.squares).reshape(self.k, self.k) - n * np.outer(mean, mean)) / (n - 1)
        return self.target.distance(self.target.mean + mean, covariance)

    @cached_property
    def raw(self) -> Jackknifed:
        """FID as everyone computes it; its expectation at n exceeds the true distance by about c/n."""
        return Jackknifed.of([self.of(kept) for kept in KEPT])

    @cached_property
    def corrected(self) -> Jackknifed:
        """2 FID_n − the mean FID of halves, in which the bias of order 1/n cancels; with the jackknife error of FID_n.

        Where samples come near the target, FID is quadratic in their deviations. One split into halves then has twice the
        variance of FID_n, and the jackknife of FID_n overstates that by just as much. The jackknife of the corrected value
        would overstate it twice over, and cover the truth always.
        """
        value = 2 * self.raw.value - float(np.mean([self.of(half) for half in HALVES]))
        return Jackknifed(value, value + self.raw.without - self.raw.value)


@dataclass(frozen=True)
class Blocks:
    """Sums of the kernel over pairs of groups (GROUPS, GROUPS), without those of a sample with itself, and the counts."""

    pairs: np.ndarray
    counts: np.ndarray

    def mean(self, kept: np.ndarray) -> float:
        n = float(kept @ self.counts)
        return float(kept @ self.pairs @ kept) / (n * (n - 1))


class Kernel:
    """Squared maximum mean discrepancy to a set of real features (m, k) with KID's kernel (x·y/k + 1)³, unbiased."""

    def __init__(self, real: np.ndarray) -> None:
        self.real = by_group(real.astype(np.float64))
        self.within = within(self.real)

    def distance(self, features: np.ndarray) -> Jackknifed:
        """KID of features (n, k). The same groups are left out of both sides, so its error tells of the noise of both."""
        parts = by_group(features.astype(np.float64))
        own, across = within(parts), between(parts, self.real)

        def value(kept: np.ndarray) -> float:
            size = float(kept @ own.counts) * float(kept @ self.within.counts)
            return own.mean(kept) + self.within.mean(kept) - 2 * float(kept @ across @ kept) / size

        return Jackknifed.of([value(kept) for kept in KEPT])


def cubic(dots: np.ndarray, k: int) -> np.ndarray:
    """KID's kernel of inner products of features in k dimensions."""
    base = dots / k + 1
    return np.asarray(base * base * base)


def between(one: list[np.ndarray], two: list[np.ndarray]) -> np.ndarray:
    """Sums of the kernel over pairs of groups (GROUPS, GROUPS), a group of the first at a time."""
    everything, k = np.concatenate(two).T, one[0].shape[1]
    starts = np.cumsum([0, *(len(part) for part in two[:-1])])
    rows = max(1, PAIRS // everything.shape[1])

    def sums(part: np.ndarray) -> np.ndarray:
        few = [cubic(part[first : first + rows] @ everything, k).sum(0) for first in range(0, len(part), rows)]
        return np.asarray(np.add.reduceat(np.sum(few, 0), starts))

    return np.array([sums(part) for part in one])


def within(parts: list[np.ndarray]) -> Blocks:
    diagonal = np.array([cubic((part**2).sum(1), part.shape[1]).sum() for part in parts])
    return Blocks(between(parts, parts) - np.diag(diagonal), np.array([len(part) for part in parts]))


def sliced_wasserstein(features: np.ndarray, real: np.ndarray, seed: int = 0) -> Jackknifed:
    """Sliced 2-Wasserstein distance of two sets of as many features (n, k) by POT, along seeded projections.

    Its interval is of the expectation at n. Where samples come near the real ones the jackknife overstates its error by about
    a third, and the interval holds more than 95 %.
    """
    import ot

    x, y = features.astype(np.float64), real.astype(np.float64)
    along = ot.sliced.get_random_projections(x.shape[1], PROJECTIONS, seed=seed)
    value = ot.sliced_wasserstein_distance(x, y, projections=along)
    order, other = (np.argsort(z @ along, axis=0) for z in (x, y))
    a, b = (np.take_along_axis(z @ along, o, 0).T for z, o in ((x, order), (y, other)))

    def left(group: int) -> float:
        """The distance without a group: what is sorted stays so."""
        ab = [z[o.T % GROUPS != group].reshape(PROJECTIONS, -1) for z, o in ((a, order), (b, other))]
        return float(np.sqrt(np.mean((ab[0] - ab[1]) ** 2)))

    return Jackknifed(float(value), np.array([left(g) for g in range(GROUPS)]))


def precision_recall(features: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Shares of the samples (n, k) within the real manifold and of the real ones (n, k) within theirs, by torch-fidelity."""
    repair()
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    one, two = (torch.from_numpy(f.astype(np.float32)) for f in (features, real))
    large = len(features) > 10_000
    found = prc_features_to_metric(one, two, prc_neighborhood=3, save_cpu_ram=large, verbose=False)
    return float(found["precision"]), float(found["recall"])

"""What samples are compared with, each part computed once: real features, as many others for the floor, the reference."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .distances import Frechet, Gauss, Kernel, sliced_wasserstein
from .jackknife import Jackknifed

Statistic = Callable[["Set"], Jackknifed]
DISTANCES: dict[str, Statistic] = {
    "fid": lambda x: x.frechet.raw,
    "fid_corrected": lambda x: x.frechet.corrected,
    "excess_fid": lambda x: x.frechet.raw - x.sides.reference_fid,
    "kid": lambda x: x.sides.kernel.distance(x.features),
    "sliced_wasserstein": lambda x: sliced_wasserstein(x.features, x.sides.real[: len(x.features)]),
}


@dataclass(frozen=True)
class Sides:
    """Real features (m, k) and other real ones (n, k) where there are so many, and the reference solution's (n, k)."""

    features: str
    real: np.ndarray
    other: np.ndarray | None
    reference: np.ndarray
    floors: dict[str, Jackknifed | None] = field(default_factory=dict)

    @cached_property
    def gauss(self) -> Gauss:
        return Gauss.fitted(self.real)

    @cached_property
    def kernel(self) -> Kernel:
        return Kernel(self.real)

    @cached_property
    def reference_fid(self) -> Jackknifed:
        return DISTANCES["fid"](Set(self.reference, self))

    def floor(self, metric: str) -> Jackknifed | None:
        """A distance of the other real features: what perfect samples, as many, would have; one draw, so with its error."""
        if metric not in self.floors:
            self.floors[metric] = None if self.other is None else DISTANCES[metric](Set(self.other, self))
        return self.floors[metric]


@dataclass(frozen=True)
class Set:
    """Features (n, k) of one set of samples, between its sides."""

    features: np.ndarray
    sides: Sides

    @cached_property
    def frechet(self) -> Frechet:
        return Frechet(self.features, self.sides.gauss)

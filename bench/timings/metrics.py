"""Distances between sets of features, with all that their jackknife leaves out."""

import numpy as np

from scorebench.bench.sides import DISTANCES, Set, Sides

from .devices import clock, prepare

FEATURES = 64


class Distance:
    """A distance of so many feature vectors, in 64 dimensions, to as many real ones."""

    params = (["fid", "kid", "sliced_wasserstein"], [500, 2000])
    param_names = ("metric", "samples")
    timer = staticmethod(clock)
    warmup_time = 0.3

    def setup(self, metric: str, samples: int) -> None:
        prepare("cpu")
        rng = np.random.default_rng(0)
        self.real, self.made = rng.standard_normal((2, samples, FEATURES)).astype(np.float32)

    def time_distance(self, metric: str, samples: int) -> None:
        sides = Sides("random", self.real, None, self.real)
        DISTANCES[metric](Set(self.made, sides))

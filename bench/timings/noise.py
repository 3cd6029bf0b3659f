"""The noise of a stochastic method on the host: increments of one Brownian path a sample."""

from itertools import pairwise

import torch

from scorebench.solvers.noise import Noise

from .devices import clock, prepare

STEPS = torch.logspace(1, -2, 11).tolist()  # variances that ten steps lead through


class Increments:
    """Ten increments of a batch of images."""

    params = ([(16, 1, 8, 8), (256, 1, 28, 28)],)
    param_names = ("shape",)
    timer = staticmethod(clock)
    warmup_time = 0.3

    def setup(self, shape: tuple[int, ...]) -> None:
        prepare("cpu")
        self.noise = Noise(0, torch.arange(shape[0]), shape[1:], torch.float32)

    def time_increments(self, shape: tuple[int, ...]) -> None:
        for before, after in pairwise(STEPS):
            self.noise.increment(before, after)

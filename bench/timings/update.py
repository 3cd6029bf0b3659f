"""The update that every fixed-step method is made of."""

import torch

from scorebench.solvers.update import combine

from .devices import DEVICES, clock, prepare, synchronise

REPEATS = 100  # a sample of asv's is a single call, and one small update is too short for its clock


class Update:
    """A hundred updates of a batch of images from two to six tensors, the range of the methods."""

    params = ([2, 4, 6], [(1, 1, 8, 8), (16, 3, 32, 32)], ["float32", "float64"], DEVICES)
    param_names = ("terms", "shape", "dtype", "device")
    timer = staticmethod(clock)
    warmup_time = 0.3

    def setup(self, terms: int, shape: tuple[int, ...], dtype: str, device: str) -> None:
        prepare(device)
        generator, kind = torch.Generator().manual_seed(0), getattr(torch, dtype)
        draws = torch.randn(terms, *shape, generator=generator).to(device, kind)
        self.terms = [(0.5 + k, draw) for k, draw in enumerate(draws)]

    def time_combine(self, terms: int, shape: tuple[int, ...], dtype: str, device: str) -> None:
        for _ in range(REPEATS):
            combine(*self.terms)
        synchronise(device)

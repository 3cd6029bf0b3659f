"""The update that every fixed-step method is made of."""

import torch

from scorebench.solvers.update import combine

from .devices import DEVICES, clock, prepare, synchronise

REPEATS = 100  # a sample of asv's is a single call, and one update is too short for its clock


class Update:
    """A hundred updates of an image batch from two to four tensors, the range of the methods."""

    params = ([2, 4], [(1, 1, 8, 8), (16, 3, 32, 32)], DEVICES)
    param_names = ("terms", "shape", "device")
    timer = staticmethod(clock)
    warmup_time = 0.3

    def setup(self, terms: int, shape: tuple[int, ...], device: str) -> None:
        prepare(device)
        generator = torch.Generator().manual_seed(0)
        self.terms = [(0.5 + k, torch.randn(shape, generator=generator).to(device)) for k in range(terms)]

    def time_combine(self, terms: int, shape: tuple[int, ...], device: str) -> None:
        for _ in range(REPEATS):
            combine(*self.terms)
        synchronise(device)

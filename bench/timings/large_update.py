"""The update of a state that no cache holds."""

import torch

from .devices import DEVICES, clock, prepare, synchronise


class LargeUpdate:
    """One update of DPM-Solver++(2M)'s three tensors of 64×3×128×128, in one pass over memory and term by term."""

    params = (["one pass", "eager"], ["float32", "float64"], DEVICES)
    param_names = ("way", "dtype", "device")
    timer = staticmethod(clock)
    warmup_time = 0.3

    def setup(self, way: str, dtype: str, device: str) -> None:
        from scorebench.solvers import fused  # here, so that a commit without them has the other benchmarks
        from scorebench.solvers.update import combine, eager

        prepare(device)
        draws = torch.randn(3, 64, 3, 128, 128, generator=torch.Generator().manual_seed(0))
        self.terms = [(0.5 + k, draw) for k, draw in enumerate(draws.to(device, getattr(torch, dtype)))]
        self.update, self.recycled = combine if way == "one pass" else eager, fused.recycled
        self.time_update(way, dtype, device)  # compiles

    def time_update(self, way: str, dtype: str, device: str) -> None:
        with torch.inference_mode(), self.recycled():
            for _ in range(4):
                self.update(*self.terms)
        synchronise(device)

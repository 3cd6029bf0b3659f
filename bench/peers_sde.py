"""torchsde's Euler–Maruyama beside ours: what each loop adds to its network calls, a step, at batch 16 of 8×8.

Its steps are of one length, so both have the grid uniform in t. It gets its coefficients and its noise for nothing, and calls the
network once more than it steps, to look at a shape; that call is part of what it adds.
"""

import importlib
import importlib.util
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .peer_timing import Row
from .peers_overhead import Algorithm, Loop, Maker, Setting, Tenth, overheads

ALGORITHM = Algorithm("Euler–Maruyama", "euler-maruyama")


class Reverse:
    """The reverse SDE of a setting in s = t_max − t; a time is told by its step, whose coefficients are host numbers."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, setting: Setting) -> None:
        p, t = setting.process, setting.grid[:-1]
        self.network, self.shape, self.t = setting.network, setting.x.shape, setting.grid
        self.length = float(t[0] - t[1])
        self.of_x, g2 = p.f(t).tolist(), p.g2(t)
        self.of_eps, self.spread = (g2 / p.sigma(t)).tolist(), torch.sqrt(g2).tolist()

    def step(self, s: Tensor) -> int:
        return round(float(s) / self.length)

    def f(self, s: Tensor, y: Tensor) -> Tensor:
        n = self.step(s)
        x = y.reshape(self.shape)
        eps: Tensor = self.network(x, self.t[n].expand(len(x)))[0].flatten(1)
        drift: Tensor = -self.of_x[n] * y - self.of_eps[n] * eps
        return drift

    def g(self, s: Tensor, y: Tensor) -> Tensor:
        return torch.full_like(y, self.spread[self.step(s)])


def makers(setting: Setting) -> dict[str, Maker]:
    """The loops of both, and that of the network's calls alone."""
    found = {"network": lambda: setting.calls(setting.steps), "scorebench": lambda: setting.ours(ALGORITHM)}
    return found | ({"torchsde": torchsde(setting)} if importlib.util.find_spec("torchsde") else {})


def torchsde(setting: Setting) -> Maker:
    library: Any = importlib.import_module("torchsde")
    sde, flat = Reverse(setting), setting.x.flatten(1)
    drawn = [z.flatten(1) * math.sqrt(sde.length) for z in setting.drawn(ALGORITHM)]
    span = torch.tensor([0.0, float(setting.grid[0] - setting.grid[-1])], dtype=torch.float64)

    class Given(library.BaseBrownian):  # type: ignore[misc]
        """The increments of the steps, one after another."""

        dtype, device, shape, levy_area_approximation = flat.dtype, flat.device, flat.shape, "none"

        def __init__(self) -> None:
            self.queue = iter(drawn)

        def __call__(self, *_: Any, **__: Any) -> Tensor:
            return next(self.queue)

        def __repr__(self) -> str:
            return "Given()"

    def make() -> Loop:
        given = Given()

        def loop() -> Tensor:
            dt = sde.length * (1 + 1e-9)  # so that rounding leaves no step over; the last one is cut to the end
            end: Tensor = library.sdeint(sde, flat, span, bm=given, method="euler", dt=dt)[-1]
            return end.reshape(setting.x.shape)

        return loop

    return make


def measure(number: int) -> Iterator[Row]:
    setting = Setting(Tenth(), (1, 8, 8), 16, grid="time_uniform")
    yield from overheads("sde", ALGORITHM.name, makers(setting), setting.steps, number)

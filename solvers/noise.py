"""Noise that belongs to the sample: every normal is a function of (seed, index, stream, position) and of nothing else.

Batch size, device and order cannot change it. Brownian paths are values W(s) of one path per sample, so that solvers
with different steps see the same path.
"""

import math
from collections import defaultdict
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .drawn import Drawn, Draws
from .philox import words
from .update import kernels as device_kernels

LATENT, INDEPENDENT, OCTAVE, BRIDGE, PROBE, UNIFORM = range(6)  # streams
AT_ONCE = 2**14  # entries of a batch whose bisections are drawn together: they stay in the processor's cache
DEPTH = 14  # bisections of an octave: increments down to 2^-14 of s are those of one path


def normals(seed: int, indices: Tensor, count: int, stream: int, positions: Tensor) -> Tensor:
    """Standard normals (m, b, count), float64, at positions (m,) or (m, b), by Box and Muller's transform."""
    w = words(seed, indices, count + count % 2, stream, positions).double()
    radius = torch.sqrt(-2 * torch.log((w[..., 0::2] + 1) / 2**32))
    angle = (2 * math.pi / 2**32) * w[..., 1::2]
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1).flatten(-2)[..., :count]


class Noise:
    """The noise of a batch of samples: `indices` (b,) of the seed block `seed`, each of `shape`."""

    def __init__(
        self,
        seed: int,
        indices: Tensor,
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.seed, self.indices, self.shape, self.dtype, self.device = seed, indices, shape, dtype, device
        self._last: tuple[float, Tensor] | None = None

    def __getitem__(self, rows: Tensor) -> "Noise":
        """The noise of some rows (k,) of the batch."""
        return Noise(self.seed, self.indices[rows], self.shape, self.dtype, self.device)

    @cached_property
    def on_device(self) -> Tensor | None:
        """The indices, on a GPU whose kernels draw the noise; None where the host draws it."""
        own = torch.device(self.device).type == "cuda" and self.dtype is torch.float32 and device_kernels() is not None
        return self.indices.to(self.device) if own else None

    def latents(self) -> Tensor:
        """Standard normal starting points (b, *shape)."""
        return self._give(self._normals(LATENT, torch.tensor([0]))[0])

    def independent(self, position: int) -> Tensor:
        """Standard normals (b, *shape), independent for every position: the noise of a corrector."""
        if self.on_device is not None:
            return Drawn(self.seed, self.on_device, self.shape, ((1.0, INDEPENDENT, position),))
        return self._give(self._normals(INDEPENDENT, torch.tensor([position]))[0])

    def increment(self, s_from: float, s_to: float) -> Tensor:
        """(W(s_to) − W(s_from)) / √|s_to − s_from|, standard normal (b, *shape); 0 < s_from, s_to, in the method's own clock."""
        if self.on_device is not None:
            return Drawn(self.seed, self.on_device, self.shape, increment_draws(s_from, s_to))
        _, start = self._last if self._last is not None and self._last[0] == s_from else (s_from, self._at(s_from))
        end = self._at(s_to)
        self._last = s_to, end
        low, high = math.frexp(s_from)[1] - 1, math.frexp(s_to)[1] - 1
        total = end - start
        octaves = torch.arange(min(low, high), max(low, high))
        if len(octaves):
            lengths = torch.exp2(0.5 * octaves.double())[:, None, None]
            total = total + math.copysign(1.0, high - low) * (lengths * self._normals(OCTAVE, octaves + 4096)).sum(0)
        return self._give(total / math.sqrt(abs(s_to - s_from)))

    def increments(self, s_from: Tensor, s_to: Tensor) -> Tensor:
        """The increments of `increment` between times of each sample's own, s_from (b,) and s_to (b,), float64 on the host."""
        (_, low), (_, high) = torch.frexp(s_from), torch.frexp(s_to)
        total = self._within(s_to) - self._within(s_from)
        for octave in range(int(torch.minimum(low, high).min()) - 1, int(torch.maximum(low, high).max()) - 1):
            crossed = (octave < high - 1).int() - (octave < low - 1).int()  # 1 upwards, −1 downwards, 0 not at all
            step = 2.0 ** (0.5 * octave) * self._normals(OCTAVE, torch.tensor([octave + 4096]))[0]
            total = total + crossed[:, None] * step
        return self._give(total / torch.sqrt((s_to - s_from).abs())[:, None])

    def _at(self, s: float) -> Tensor:
        return self._within(torch.tensor([s], dtype=torch.float64))

    def _within(self, s: Tensor) -> Tensor:
        """W(s) − W(2^k) with 2^k ≤ s < 2^(k+1), by bisection of the octave (b, d); s (1,), the same for all, or (b,)."""
        rows = max(1, AT_ONCE // math.prod(self.shape))
        if len(self.indices) > rows:
            parts = torch.arange(len(self.indices)).split(rows)
            return torch.cat([self[part]._within(s if len(s) == 1 else s[part]) for part in parts])
        mantissa, exponent = torch.frexp(s)
        octave = exponent.long() + 4095
        place, length = 2 * mantissa - 1, s / (2 * mantissa)  # place in [0, 1)
        levels = torch.arange(DEPTH + 1)[:, None]
        cells = torch.floor(place * torch.exp2(levels.double())).long()  # the cell at each level that holds s
        z = self._normals(BRIDGE, (octave << 40) + (levels << 32) + cells)
        right = torch.sqrt(length)[:, None] * self._normals(OCTAVE, octave[None])[0]
        left = torch.zeros_like(right)
        for level in range(DEPTH):
            middle = 0.5 * (left + right) + (0.5 * torch.sqrt(length))[:, None] * z[level]
            length = 0.5 * length
            odd = (cells[level + 1] % 2 == 1)[:, None]
            left, right = torch.where(odd, middle, left), torch.where(odd, right, middle)
        share = (place * 2.0**DEPTH - cells[DEPTH])[:, None]
        return left + share * (right - left) + torch.sqrt(share * (1 - share) * length[:, None]) * z[DEPTH]

    def _normals(self, stream: int, positions: Tensor) -> Tensor:
        return normals(self.seed, self.indices, math.prod(self.shape), stream, positions)

    def _give(self, z: Tensor) -> Tensor:
        return z.reshape(len(self.indices), *self.shape).to(dtype=self.dtype, device=self.device)


def increment_draws(s_from: float, s_to: float) -> Draws:
    """The increment of `Noise.increment` as a weighted sum of normals, each once."""
    total: dict[tuple[int, int], float] = defaultdict(float)
    for sign, s in ((1.0, s_to), (-1.0, s_from)):
        for draw, weight in within_octave(s).items():
            total[draw] += sign * weight
    low, high = math.frexp(s_from)[1] - 1, math.frexp(s_to)[1] - 1
    for octave in range(min(low, high), max(low, high)):
        total[OCTAVE, octave + 4096] += math.copysign(2.0 ** (0.5 * octave), high - low)
    length = math.sqrt(abs(s_to - s_from))
    return tuple((weight / length, *draw) for draw, weight in total.items() if weight)


def within_octave(s: float) -> dict[tuple[int, int], float]:
    """W(s) − W(2^k) with 2^k ≤ s < 2^(k+1): the weight of each normal, by its stream and position, of the bisections."""
    mantissa, exponent = math.frexp(s)
    place, length, octave = 2 * mantissa - 1, s / (2 * mantissa), exponent + 4095
    cells = [math.floor(place * 2**level) for level in range(DEPTH + 1)]
    draws = [(OCTAVE, octave)] + [(BRIDGE, (octave << 40) + (level << 32) + cell) for level, cell in enumerate(cells)]
    unit = np.eye(len(draws))
    left, right = np.zeros(len(draws)), math.sqrt(length) * unit[0]
    for level in range(DEPTH):
        middle = 0.5 * (left + right) + 0.5 * math.sqrt(length) * unit[1 + level]
        length *= 0.5
        left, right = (middle, right) if cells[level + 1] % 2 else (left, middle)
    share = place * 2.0**DEPTH - cells[DEPTH]
    weights = left + share * (right - left) + math.sqrt(share * (1 - share) * length) * unit[-1]
    return dict(zip(draws, weights.tolist(), strict=True))


def probes(seed: int, indices: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Rademacher probes (b, *shape), float64: the same for every solver."""
    bits = words(seed, indices, math.prod(shape), PROBE, torch.tensor([0]))[0] & 1
    return (2.0 * bits.double() - 1.0).reshape(len(indices), *shape)


def uniforms(seed: int, indices: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Uniform numbers in [0, 1) (b, *shape), float64, for dequantisation."""
    return (words(seed, indices, math.prod(shape), UNIFORM, torch.tensor([0]))[0].double() / 2**32).reshape(-1, *shape)

"""Noise that is not drawn yet: on a GPU the update draws it as it adds it, and no memory is written or read for it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

Term = tuple[float, Tensor]
Draws = tuple[tuple[float, int, int], ...]  # weights of standard normals, each by its stream and position


class Drawn(Tensor):
    """Σ w_j z_j (b, *shape), float32, of the `samples` (b,) of a seed. What is no update draws it when it reads it."""

    seed: int
    samples: Tensor
    draws: Draws
    known: Tensor | None

    @staticmethod
    def __new__(cls, seed: int, samples: Tensor, shape: tuple[int, ...], draws: Draws) -> "Drawn":
        size = (len(samples), *shape)
        made: Drawn = Tensor._make_wrapper_subclass(cls, size, dtype=torch.float32, device=samples.device)
        made.seed, made.samples, made.draws, made.known = seed, samples, draws, None
        return made

    @property
    def numbers(self) -> Tensor:
        """The numbers, drawn once."""
        if self.known is None:
            from . import device_update  # which needs triton, and this module

            self.known = device_update.combine([(1.0, self)])
        return self.known

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        given, named = tree_map_only(Drawn, settled, (args, kwargs or {}))
        return func(*given, **named)


def settled(noise: Tensor) -> Tensor:
    """The noise as numbers."""
    return noise.numbers if isinstance(noise, Drawn) else noise


def apart(terms: Sequence[Term]) -> tuple[list[Term], Drawn | None]:
    """The terms that are read, and the sum of those that are still to be drawn, which are of the same samples."""
    waiting = [(c, x) for c, x in terms if isinstance(x, Drawn) and x.known is None]
    if not waiting:
        return [(c, settled(x)) for c, x in terms], None
    first = waiting[0][1]
    kin = [(c, x) for c, x in waiting if x.seed == first.seed and x.samples is first.samples]
    read = [(c, settled(x)) for c, x in terms if all(x is not other for _, other in kin)]
    draws = tuple((c * w, stream, position) for c, x in kin for w, stream, position in x.draws)
    return read, Drawn(first.seed, first.samples, tuple(first.shape[1:]), draws)

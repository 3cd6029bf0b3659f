"""Random words that are a function of where they stand: Philox4x32-10 (Salmon et al. 2011, SC'11).

Few words are made by torch's integer operations; many by the same rounds compiled by numba (the extra `fast`), where it is
installed: the same words, in one pass over memory. asv's `noise.Increments` times what that saves.
"""

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import fused

MASK = 0xFFFFFFFF
MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
FEWEST = {False: 2**17, True: 2**8}  # words that are worth a second of compilation, and a call once it is compiled


def words(seed: int, indices: Tensor, count: int, stream: int, positions: Tensor) -> Tensor:
    """Random 32-bit words (m, b, count), int64, for positions (m,), or (m, b), int64 of a stream and sample indices (b,)."""
    blocks = (count + 3) // 4
    places = (positions if positions.ndim == 2 else positions[:, None]).expand(len(positions), len(indices))
    key = seed & MASK, seed >> 32 & MASK
    ready = compiled.cache_info().currsize > 0
    if 4 * blocks * places.numel() >= FEWEST[ready] and fused.available():
        out = np.empty((*places.shape, 4 * blocks), np.int64)
        compiled()(out, indices.numpy(), places.contiguous().numpy(), stream << 24, *key)
        return torch.from_numpy(out)[..., :count]
    first = torch.arange(blocks) + (stream << 24)
    rows = places[..., None]
    counters = torch.broadcast_tensors(first, rows & MASK, rows >> 32 & MASK, indices[:, None])
    return torch.stack(philox(counters, key), -1).flatten(-2)[..., :count]


def philox(counter: tuple[Tensor, ...], key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four 32-bit words, held in int64, per counter of four such words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # wraps modulo 2^64, which keeps all 64 bits of the product
        c0, c1, c2, c3 = ((p1 >> 32) & MASK) ^ c1 ^ k0, p1 & MASK, ((p0 >> 32) & MASK) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


@cache
def compiled() -> Callable[[np.ndarray, np.ndarray, np.ndarray, int, int, int], None]:
    """The loop that fills out (m, b, 4k) for sample indices (b,) and positions (m, b): counters from `first` on, a key of two."""
    numba: Any = importlib.import_module("numba")
    word, mask, half = np.uint64, np.uint64(MASK), np.uint64(32)
    by0, by1, step0, step1 = (np.uint64(number) for number in (*MULTIPLIERS, *WEYL))

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def fill(out: np.ndarray, indices: np.ndarray, places: np.ndarray, first: int, key0: int, key1: int) -> None:
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                place, row = word(places[i, j]), out[i, j]
                for block in range(row.size // 4):
                    c0, c1, c2, c3 = word(first + block), place & mask, place >> half, word(indices[j])
                    k0, k1 = word(key0), word(key1)
                    for _ in range(10):
                        p0, p1 = c0 * by0, c2 * by1
                        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & mask, (p0 >> half) ^ c3 ^ k1, p0 & mask
                        k0, k1 = (k0 + step0) & mask, (k1 + step1) & mask
                    at = 4 * block
                    row[at], row[at + 1], row[at + 2], row[at + 3] = c0, c1, c2, c3

    loop: Callable[[np.ndarray, np.ndarray, np.ndarray, int, int, int], None] = fill
    return loop

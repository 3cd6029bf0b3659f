"""Large cells in blocks of samples, measured one by one, by one process or many, and merged exactly.

Latents and noise belong to a sample's index, so that a sample is the same in any block. What was measured of samples
concatenates; of what was spent a cell has the most that any block has; statistics are taken of the whole alone.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from scorebench.solvers.problem import Count

from .store import Arrays, Store

BLOCK = 2048  # samples at once: the noise of so many images is drawn in gigabytes
SAMPLES_FIRST = ("index", "error")  # arrays (n,); in others samples come after the noise seeds (s, n, …)
SPENT = ("calls", "vjps", "jvps", "batch", "finite")
T = TypeVar("T")


@dataclass(frozen=True)
class Whole:
    """All blocks of a cell together."""

    arrays: Arrays
    count: Count
    batch: int
    finite: bool


def of(n: int) -> list[slice]:
    """The rows of each block of n samples."""
    return [slice(first, min(first + BLOCK, n)) for first in range(0, n, BLOCK)]


def name(key: str, rows: slice) -> str:
    """The file of a block in the store."""
    return f"parts/{key}-{rows.start}-{rows.stop}.npz"


def drop(key: str, store: Store) -> None:
    """Remove the blocks of a cell that is written."""
    for path in store.root.glob(f"parts/{key}-*"):
        path.unlink(missing_ok=True)


def spent(count: Count, batch: int, finite: bool) -> Arrays:
    """What a block keeps besides arrays of its samples."""
    numbers = zip(SPENT, (count.calls, count.vjps, count.jvps, batch, finite), strict=True)
    return {name: np.array(number) for name, number in numbers}


def merged(parts: list[Arrays]) -> Whole:
    """The whole of blocks that follow one another."""
    arrays: Arrays = {}
    for name in (name for name in parts[0] if name not in SPENT):  # in their order, which a file's digest knows
        axis = 0 if name in SAMPLES_FIRST else 1
        arrays[name] = parts[0][name] if name == "strip" else np.concatenate([part[name] for part in parts], axis)
    most = {name: max(int(part[name]) for part in parts) for name in ("calls", "vjps", "jvps")}
    evaluations = torch.from_numpy(arrays["nfe"]).flatten()
    batch = min(len(arrays["index"]), *(int(part["batch"]) for part in parts))
    return Whole(arrays, Count(evaluations, **most), batch, all(bool(part["finite"]) for part in parts))


def in_batches(work: Callable[[slice], T], n: int) -> tuple[list[T], int]:
    """What `work` makes of rows 0…n−1: of BLOCK at once or, where memory runs out, in batches of half as many, and so on.

    Returns the parts and the batch. No result depends on it, but for rounding.
    """
    batch = min(n, BLOCK)
    while True:
        try:
            return [work(slice(first, first + batch)) for first in range(0, n, batch)], batch
        except (MemoryError, RuntimeError) as error:
            if batch == 1 or not is_out_of_memory(error):
                raise
        batch = (batch + 1) // 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """torch raises a plain RuntimeError where the memory of the host runs out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def total(counts: list[Count]) -> Count:
    """The count of a batch from those of its parts: evaluations side by side, and the calls that the whole would have made."""
    evaluations = torch.cat([count.evaluations for count in counts])
    most = {name: max(getattr(count, name) for count in counts) for name in ("calls", "vjps", "jvps")}
    return Count(evaluations, **most)

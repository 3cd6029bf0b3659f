"""The update in one pass over memory, for large states on the CPU: each entry is read once and written once.

The operations and their order are those of the eager update, so that the numbers are too, to the last bit. It is compiled
by numba (the extra `fast`) for each type and number of terms when it is first needed, in a second; without numba the eager
update stands.
"""

import importlib.util
import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

TERMS = 6  # of one call; more are added by another
KEPT = 4  # buffers of a solve that wait for their next use


@cache
def available() -> bool:
    return importlib.util.find_spec("numba") is not None


def fits(terms: Sequence[tuple[float, Tensor]]) -> bool:
    """Whether these terms can be added here: dense, on the CPU, of one shape and type, without gradients."""
    first = terms[0][1]
    if first.device.type != "cpu" or first.dtype not in (torch.float32, torch.float64) or not available():
        return False
    alike = all(x.dtype is first.dtype and x.shape == first.shape for _, x in terms)
    plain = alike and all(x.is_contiguous() and type(x) is Tensor for _, x in terms)
    recorded = torch.is_grad_enabled() and any(x.requires_grad for _, x in terms)
    return plain and not recorded and not torch.compiler.is_compiling()


def combine(terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """Σ c_i · x_i of terms that fit."""
    first = terms[0][1]
    out = buffers.empty(first)
    target, sums, rest = out.numpy().reshape(-1), list(terms[:TERMS]), terms[TERMS:]
    while sums:
        run(target, sums)
        sums, rest = [(1.0, out), *rest[: TERMS - 1]] if rest else [], rest[TERMS - 1 :]
    return out


def run(target: np.ndarray, terms: list[tuple[float, Tensor]]) -> None:
    """On as many threads as torch has; they share nothing but the arrays."""
    arrays = [x.numpy().reshape(-1) for _, x in terms]
    weights = np.array([c for c, _ in terms], target.dtype)
    number = torch.get_num_threads()
    share = math.ceil(len(target) / number)

    def part(low: int) -> None:
        cut = slice(low, low + share)
        kernel()(target[cut], weights, tuple(array[cut] for array in arrays))

    if number == 1:
        part(0)
    else:
        list(pool(number).map(part, range(0, len(target), share)))


@cache
def pool(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number)


@cache
def kernel() -> Callable[[np.ndarray, np.ndarray, tuple[np.ndarray, ...]], None]:
    """The compiled loop (out, weights (k,), k arrays); a product and the sum it goes into are rounded once, as torch does."""
    numba: Any = importlib.import_module("numba")
    extending: Any = importlib.import_module("numba.extending")

    @extending.intrinsic  # type: ignore[untyped-decorator]
    def fma(_: Any, a: Any, b: Any, c: Any) -> tuple[Any, Callable[..., Any]]:
        """a b + c, rounded once."""
        return a(a, b, c), lambda context, builder, signature, values: builder.fma(*values)

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def loop(out: np.ndarray, weights: np.ndarray, arrays: tuple[np.ndarray, ...]) -> None:
        for i in range(out.size):
            total = weights[0] * arrays[0][i]
            for j in range(1, len(arrays)):
                total = fma(weights[j], arrays[j][i], total)
            out[i] = total

    compiled: Callable[[np.ndarray, np.ndarray, tuple[np.ndarray, ...]], None] = loop
    return compiled


class Buffers(threading.local):
    """Memory of states that nobody holds any more, for the states to come: fresh pages cost more than the update."""

    def __init__(self) -> None:
        self.waiting: list[np.ndarray] | None = None  # None: keep nothing

    def empty(self, like: Tensor) -> Tensor:
        """A tensor of that shape and type, of a buffer that no tensor uses, or of a new one."""
        waiting, dtype = self.waiting, np.dtype(str(like.dtype).removeprefix("torch."))
        if waiting is not None:
            for place in range(len(waiting)):
                same = waiting[place].size == like.numel() and waiting[place].dtype == dtype
                if same and holders(waiting, place) == IDLE:
                    return torch.from_numpy(waiting[place]).reshape(like.shape)
        fresh = np.empty(like.numel(), dtype)
        if waiting is not None:
            waiting.append(fresh)
            del waiting[:-KEPT]
        return torch.from_numpy(fresh).reshape(like.shape)


def holders(arrays: list[np.ndarray], place: int) -> int:
    return sys.getrefcount(arrays[place])


IDLE = holders([np.empty(0)], 0)
buffers = Buffers()


@contextmanager
def recycled() -> Iterator[None]:
    """Inside, large states take the memory of those that were dropped; it is given back at the end."""
    outer = buffers.waiting
    buffers.waiting = outer if outer is not None else []
    try:
        yield
    finally:
        buffers.waiting = outer

"""The update of DPM-Solver++(2M) on a large state, 64×3×256×256 float32, beside what memory allows.

`plain copy` writes one state into another that is there already; the eager expression is the paper's line as one types it.
Rates count what must be read and written once: two states for a copy, four for the update.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from scorebench.solvers import fused
from scorebench.solvers.update import combine, eager

from .peer_timing import Row, figure, over, rounds

SHAPE = (64, 3, 256, 256)
KEEP, STEP, SLOPE = 0.7, 0.4, 0.3  # σ'/σ, −α'(e^{−h} − 1), 1/2r


def contenders() -> dict[str, tuple[Callable[[], Tensor], int]]:
    """Each with the number of states that it reads and writes."""
    generator = torch.Generator().manual_seed(0)
    x, d, before = (torch.randn(SHAPE, generator=generator) for _ in range(3))
    into = torch.empty_like(x)
    terms = (KEEP, x), (STEP * (1 + SLOPE), d), (-STEP * SLOPE, before)
    return {
        "scorebench": (lambda: combine(*terms), 4),
        "scorebench eager": (lambda: eager(*terms), 4),
        "plain copy": (lambda: into.copy_(x), 2),
        "plain clone": (lambda: x.clone(), 2),
        "plain expression": (lambda: KEEP * x + STEP * ((1 + SLOPE) * d - SLOPE * before), 4),
    }


def measure(number: int) -> Iterator[Row]:
    """Bytes a second, as in a solve, where the memory of the state before last is taken again."""
    given = contenders()
    with torch.inference_mode(), fused.recycled():
        spent = rounds({name: partial(lambda work: work, work) for name, (work, _) in given.items()}, number)
    states = np.prod(SHAPE) * 4 / 1e9
    rates = {name: count * states / spent[name] for name, (_, count) in given.items()}
    for name, rate in rates.items():
        yield figure("update", "64×3×256×256", name, "moved", "GB/s CPU", rate, ratio=over(rate, rates["scorebench"]))
    for name, time in spent.items():
        ratio = over(time, spent["scorebench"])
        yield figure("update", "64×3×256×256", name, "time", "ms CPU", 1e3 * time, ratio=ratio)

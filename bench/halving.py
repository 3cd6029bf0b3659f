"""Which sampler for a model that nobody measured: successive halving over solvers and grids, within a given time.

Every candidate is measured on a few samples, the better quarter on four times as many, and so on (Jamieson & Talwalkar 2016,
arXiv:1502.07943). Samples pair, so that a quarter is told apart by few of them; what is kept is the store's cells.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.solvers.facts import SOLVERS

from .entries import ModelEntry, SolverEntry
from .runner import Orders, Tell
from .store import Store
from .suite import Likelihood, Suite, smallest_budget
from .watched import run_watched

FIRST, FACTOR = 16, 4  # samples of the first round; by how many times they grow and the candidates shrink
BUDGETS = [5, 8, 10, 15, 20, 35, 50]  # where no number of calls is given
GRIDS = ("karras", "logsnr", "time_uniform")  # besides each solver's own
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
Rank = Callable[[Store], list[tuple[str, str]]]  # (solver, grid) of a round's entrants, best first


@dataclass(frozen=True)
class Round:
    """What a round measures: so many samples of these candidates."""

    n: int
    candidates: list[SolverEntry]


def seconds_of(text: str) -> float:
    """Seconds of a time as 90s, 10m or 2h; UsageError otherwise."""
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * UNITS[unit]
    except (ValueError, KeyError):
        raise UsageError(f"time {text!r}: write it as 90s, 10m or 2h") from None
    if not seconds > 0:
        raise UsageError(f"time {text!r}: give a positive one")
    return seconds


def candidates(address: str, budgets: list[int], deterministic: bool) -> list[SolverEntry]:
    """Every solver of fixed steps that some budget is enough for, on its own grid and on the usual ones."""
    model, found = load_model(address), []
    for info in SOLVERS.values():
        enough = not info.adaptive and smallest_budget(info, model, calls_at_end=1) <= max(budgets)
        if enough and not (deterministic and info.kind == "sde"):
            found += [SolverEntry(id=info.id, grid=grid) for grid in dict.fromkeys((info.grid, *GRIDS))]
    return found


def halve(
    address: str,
    budgets: list[int],
    by_likelihood: bool,
    deterministic: bool,
    seconds: float,
    store: Store,
    rank: Rank,
    tell: Tell,
) -> Iterator[Round]:
    """Measure rounds into the store until one candidate is left, or the next round would not end in time.

    `rank` reads a store and says in which order the entrants of its last round stand. Yields each round when it is done.
    """
    started, this = time.monotonic(), Round(FIRST, candidates(address, budgets, deterministic))
    while True:
        began = time.monotonic()
        run_watched(suite(address, budgets, by_likelihood, this), store, tell, Orders())
        yield this
        took = time.monotonic() - began
        kept = ceil(len(this.candidates) / FACTOR)
        predicted = took * FACTOR * kept / len(this.candidates)
        if kept == len(this.candidates) or time.monotonic() - started + predicted > seconds:
            return
        order = {entrant: place for place, entrant in enumerate(dict.fromkeys(rank(store)))}
        known = [entry for entry in this.candidates if (entry.id, entry.grid) in order]
        best = sorted(known, key=lambda entry: order[entry.id, entry.grid or ""])
        this = Round(this.n * FACTOR, best[:kept])


def suite(address: str, budgets: list[int], by_likelihood: bool, this: Round) -> Suite:
    """A round as a suite of its own."""
    return Suite(
        name="choose",
        about=f"A round of successive halving on {address}",
        budgets=budgets,
        models=[ModelEntry(address=address, n=this.n)],
        solvers=this.candidates,
        noise_seeds=1,
        metrics=["error_median", "fid", "likelihood_error"],
        sampling=not by_likelihood,
        likelihood=Likelihood(models=[address], images=this.n) if by_likelihood else None,
    )

"""Which likelihood comes cheapest to which error: ours, and the practice of the field beside them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from math import isfinite
from typing import Any

import pandas as pd

from .results import Results
from .style import is_peer
from .verdicts import timed_errors
from .wording import count, names, number, with_interval

TARGETS = (1e-1, 1e-2, 1e-3, 1e-4)  # bits/dim
COSTS = {"nfe_mean": "calls", "ms": "ms"}


@dataclass(frozen=True)
class Reached:
    """The cheapest cell whose mean |error| is at most `target`, and the cheapest of the field's practice there, if any."""

    target: float
    best: "pd.Series[Any]"
    peer: "pd.Series[Any] | None"

    def told(self, cost: str) -> list[str]:
        """Who, at what cost, with what error."""
        error = with_interval(*(float(self.best[k]) for k in ("value", "low", "high")))
        return [name(self.best), spent(self.best, cost), error]

    def practice(self, cost: str) -> list[str]:
        """What the practice takes, and how much of that the best takes."""
        if self.peer is None:
            return ["not reached", "–"]
        share = float(self.best[cost]) / float(self.peer[cost])
        return [f"{name(self.peer)}, {spent(self.peer, cost)}", number(share)]


def reached(rows: pd.DataFrame, cost: str) -> Iterator[Reached]:
    """Who is cheapest at each target that anyone reaches; rows of one model, a cell each."""
    for target in TARGETS:
        able = rows[rows["value"] <= target].sort_values([cost, "value"], kind="stable")
        if len(able):
            peers = able[able["solver"].map(is_peer)]
            yield Reached(target, able.iloc[0], peers.iloc[0] if len(peers) else None)


def frontier(rows: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The cells that nothing cheaper equals in error, cheapest first."""
    ordered = rows.dropna(subset=["value"]).sort_values([cost, "value"], kind="stable")
    before = ordered["value"].cummin().shift(fill_value=float("inf"))
    found: pd.DataFrame = ordered[ordered["value"] < before]
    return found


def sentence(rows: pd.DataFrame, cost: str) -> str:
    """Who takes the fewest calls, or the least time, to which error; and between which errors the practice wins."""
    told = [f"{name(r.best)} to {r.target:g} bits/dim ({spent(r.best, cost)})" for r in reached(rows, cost)]
    least = "Fewest calls" if cost == "nfe_mean" else "Least time"
    first = f"{least}: {', '.join(told)}." if told else f"No solver reaches {TARGETS[0]:g} bits/dim."
    if not rows["solver"].map(is_peer).any():
        return first
    ranges: dict[str, list[str]] = {}
    for who, where in peers_win(frontier(rows, cost)):
        ranges.setdefault(who, []).append(where)
    wins = "; ".join(f"{who} wins {names(where)} bits/dim" for who, where in ranges.items())
    return f"{first} {wins or 'The practice of the field wins at no error'}."


def peers_win(best: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Each peer that is cheapest over a range of errors, and the range in words."""
    above = float("inf")
    for label, part in groupby(best.itertuples(), key=lambda row: str(row.label)):
        cells = list(part)
        low, last = float(str(cells[-1].value)), cells[-1].Index == best.index[-1]
        if is_peer(str(cells[0].solver)):
            if last:
                yield label, f"below {number(above)}" if isfinite(above) else f"down to {number(low)}"
            else:
                yield label, f"from {number(above)} to {number(low)}" if isfinite(above) else f"above {number(low)}"
        above = low


def tables(results: Results) -> Iterator[tuple[str, str, list[str], list[list[str]]]]:
    """(model, title, headings, rows) of what reaches which error, by calls and, where it was timed, by time.

    The practice of the field has columns where any of it was run.
    """
    found = [("nfe_mean", "", rows) for _, _, _, rows in results.principal("likelihood_error")]
    found += [("ms", f" ({field})", rows) for field, rows in timed_errors(results, "likelihood_error")]
    for cost, field, rows in found:
        unit = COSTS[cost]
        compared = rows["solver"].map(is_peer).any()
        headings = ["error, bits/dim", "cheapest", unit, "its error"]
        headings += ["cheapest practice of the field", f"{unit}, of that"] if compared else []
        lines = [
            [f"≤ {r.target:g}", *r.told(cost), *(r.practice(cost) if compared else [])] for r in reached(rows, cost)
        ]
        if lines:
            yield str(rows["model"].iloc[0]), f"Who reaches which likelihood error, by {unit}{field}", headings, lines


def name(row: "pd.Series[Any]") -> str:
    """A solver as figures name it, an adaptive one with its tolerance."""
    if pd.notna(row["budget"]):
        return str(row["label"])
    return f"{row['label']} at {tolerance(str(row['options']))}"


def tolerance(options: str) -> str:
    """The options of a rung in words, one number where absolute and relative tolerance agree."""
    given = json.loads(options)
    if given.get("rtol") == given.get("atol") and set(given) == {"rtol", "atol"}:
        return f"{given['rtol']:g}"
    return ", ".join(f"{key}={value:g}" for key, value in sorted(given.items()))


def spent(row: "pd.Series[Any]", cost: str) -> str:
    return f"{count(float(row[cost])) if cost == 'nfe_mean' else number(float(row[cost]))} {COSTS[cost]}"

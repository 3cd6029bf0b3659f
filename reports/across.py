"""Across models: how often each solver is best, ties or fails, and within which factor of the best it stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .axes import End, end_labels, log_ticks
from .results import Results
from .style import LIGHT, colour, dashes, marker, use_style
from .verdicts import Contest, Verdict
from .wording import count, names, number

METRICS = {"error_median": "median error", "fid": "Fréchet distance"}
WIDEST, NAMED = 100.0, 14  # the largest factor drawn, and how many solvers have a name and a colour


@dataclass(frozen=True)
class Standing:
    """One solver over the problems, a model and budget each: `ratios` (entered,) are its values over the best ones."""

    label: str
    solver: str
    kind: str
    won: int
    tied: int
    failed: int
    ratios: np.ndarray

    @property
    def median(self) -> float:
        return float(np.median(self.ratios))


def standings(results: Results, judged: Sequence[tuple[Contest, Verdict]], metric: str) -> tuple[int, list[Standing]]:
    """How many problems there are, and everyone, best first; a win is a best value that nothing ties with.

    Nothing below the floor competes, and a problem with one entrant alone is none.
    """
    largest = {(model, field) for model, _, field, _ in results.principal(metric)}
    problems = [
        (contest.ranked, v)
        for contest, v in judged
        if v.metric == metric and (v.model, v.field) in largest and len(contest.ranked) > 1 and v.value > 0
    ]
    if not problems:
        return 0, []
    shares = [ranked.assign(ratio=ranked["value"] / v.value, among=among(ranked, v)) for ranked, v in problems]
    rows = pd.concat(shares)
    cells = results.frame.drop_duplicates("cell")
    same = (
        (cells["pass"] == "sample")
        & cells["field"].isin({v.field for _, v in problems})
        & (cells["status"] == "failed")
    )
    failed = cells[same]["label"].value_counts()
    found = []
    for label, mine in rows.groupby("label"):
        won, tied = (int((mine["among"] == what).sum()) for what in ("won", "tied"))
        solver, kind = str(mine["solver"].iloc[0]), str(mine["kind"].iloc[0])
        ratios = mine["ratio"].to_numpy(dtype=float)
        found.append(Standing(str(label), solver, kind, won, tied, int(failed.get(label, 0)), ratios))
    return len(problems), sorted(found, key=lambda s: (-s.won - s.tied, s.median))


def among(ranked: pd.DataFrame, verdict: Verdict) -> list[str]:
    """Whether each entrant won, tied with the best, or neither."""
    best = "tied" if verdict.ties else "won"
    return [best if label == verdict.best else "tied" if label in verdict.ties else "" for label in ranked["label"]]


def table(problems: int, found: Sequence[Standing]) -> tuple[list[str], list[list[str]]]:
    """A row a solver."""
    headings = [
        "solver",
        "entered",
        "won",
        "tied for best",
        "failed",
        "median factor of the best",
        "within twice the best",
    ]
    rows = [
        [s.label, f"{len(s.ratios)} of {problems}", *map(count, (s.won, s.tied, s.failed)), number(s.median),
         f"{100 * (s.ratios <= 2).sum() / problems:.0f} %"]
        for s in found
    ]  # fmt: skip
    return headings, rows


def caption(problems: int, found: Sequence[Standing]) -> str:
    """Who is best most often, and who is safest."""
    top = found[0]
    safest = max(found, key=lambda s: ((s.ratios <= 2).sum(), -s.median))
    share = 100 * (safest.ratios <= 2).sum() / problems
    return (
        f"Of {problems} pairs of a model and a budget {top.label} is best or ties with the best in {top.won + top.tied}; within "
        f"twice the best stays most often {safest.label}, in {share:.0f} %. A line shows in which share of all pairs a solver "
        "comes within a factor of the best; what it did not enter, or where it failed, counts against it."
    )


def alt(metric: str, found: Sequence[Standing]) -> str:
    return f"Performance profiles by {METRICS[metric]} of {names([s.label for s in found], 12)}."


def chart(metric: str, problems: int, found: Sequence[Standing]) -> Figure:
    """Performance profiles (Dolan & Moré 2002): the share of problems within a factor of the best."""
    use_style()
    figure = Figure(figsize=(9, 4.8))
    ax = figure.subplots()
    factors = np.geomspace(1, WIDEST, 400)
    shares = {s.label: (s.ratios[:, None] <= factors * (1 + 1e-9)).sum(axis=0) / problems for s in found}
    order = sorted(found, key=lambda s: -float(shares[s.label].mean()))
    room = max(len(s.label) for s in order[:NAMED]) * 0.0088 + 0.055  # for the names on the right
    figure.subplots_adjust(left=0.09, right=min(0.74, 1 - min(room, 0.4)), top=0.9, bottom=0.13)
    ax.set(xscale="log", xlim=(1, WIDEST), ylim=(0, 1.02), ylabel="share of models and budgets")
    log_ticks(ax, 1, WIDEST)
    for s in order[NAMED:]:
        ax.step(factors, shares[s.label], color=LIGHT, lw=0.9, where="post", zorder=0.9)
    for place, s in enumerate(order[:NAMED]):
        look: dict[str, Any] = {"color": colour(s.solver), "ls": dashes(s.kind), "marker": marker(s.solver), "ms": 5}
        ax.step(factors, shares[s.label], lw=1.5, where="post", markevery=(7 * place % 45, 45), **look)
    end_labels(ax, [End(s.label, s.solver, WIDEST, float(shares[s.label][-1]), s is order[0]) for s in order[:NAMED]])
    others = f"; grey: {len(order) - NAMED} more" if len(order) > NAMED else ""
    ax.set(xlabel=f"{METRICS[metric]}, at most so many times the best one (upper left is better{others})")
    ax.set_title(f"Across {problems} models and budgets: within which factor of the smallest {METRICS[metric]}", pad=12)
    return figure

"""At a glance: who is best on each model at each budget, at what value, and how many tie with it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .across import METRICS
from .results import Results
from .style import INK, colour, use_style
from .verdicts import Contest, Verdict
from .wording import count, names, number

MOST = 6  # columns
SURE, TIED = 0.42, 0.14  # how strong a solver's colour is where nothing ties with it, and where something does
Board = dict[tuple[str, float], tuple[Verdict, str]]  # by model and budget: the verdict, and the id of who is best


def board(results: Results, judged: Sequence[tuple[Contest, Verdict]], metric: str) -> Board:
    """The verdicts of a measure's largest comparisons, at the budgets at which at least half of the models were measured."""
    wanted = {(model, measure, field) for model, measure, field, _ in results.principal(metric)}
    found: Board = {}
    for contest, v in judged:
        if (v.model, v.measure, v.field) in wanted:
            best = "" if contest.ranked.empty else str(contest.ranked["solver"].iloc[0])
            found.setdefault((v.model, v.budget), (v, best))
    common = Counter(budget for _, budget in found)
    often = sorted(budget for budget, times in common.items() if 2 * times >= max(common.values()))
    kept = {often[i] for i in np.linspace(0, len(often) - 1, min(MOST, len(often))).round().astype(int)}
    return {place: told for place, told in found.items() if place[1] in kept}


def caption(found: Board) -> str:
    """How often somebody is best alone, and who is best or ties with the best on most models at each budget."""
    alone = sum(bool(v.best) and not v.ties for v, _ in found.values())
    told = "A field names the best, its value and how many tie with it; its colour is strong where nobody does, "
    told += f"in {alone} of {len(found)}."
    most = []
    for budget in sorted({budget for _, budget in found}):
        there = [v for v, _ in found.values() if v.budget == budget]
        counted = Counter(label for v in there if v.best for label in (v.best, *v.ties))
        most += [f"at {count(budget)} calls {label} ({n} of {len(there)})" for label, n in counted.most_common(1)]
    return f"{told} Best or tied with the best on most models: {names(most, MOST)}." if most else told


def alt(metric: str, found: Board) -> str:
    told = [f"{v.model} at {count(v.budget)} calls {v.best}" for v, _ in found.values() if v.best]
    return f"Table in colours. The solver with the smallest {METRICS[metric]}: {names(told, 100)}."


def chart(metric: str, found: Board) -> Figure:
    """A row a model, a column a budget; a solver's colour is that of its line in all other figures."""
    use_style()
    models = list(dict.fromkeys(model for model, _ in found))
    budgets = sorted({budget for _, budget in found})
    figure = Figure(figsize=(9, 0.9 + 0.42 * len(models)))
    ax = figure.subplots()
    left = min(0.36, max(map(len, models)) * 0.0088 + 0.015)
    figure.subplots_adjust(left=left, right=0.995, top=1 - 0.72 / figure.get_figheight(), bottom=0.02)
    ax.set(xlim=(0, len(budgets)), ylim=(len(models), 0), xticks=np.arange(len(budgets)) + 0.5)
    ax.set_yticks(np.arange(len(models)) + 0.5, models)
    ax.set_xticklabels([f"{count(budget)} calls" for budget in budgets])
    ax.xaxis.tick_top()
    ax.tick_params(length=0, labelsize=9)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    width = 72 * figure.get_figwidth() * (0.995 - left) / len(budgets)
    for (model, budget), (v, solver) in found.items():
        field(ax, budgets.index(budget), models.index(model), width, v, solver)
    ax.set_title(f"The solver with the smallest {METRICS[metric]} on each model at each budget", pad=14)
    return figure


def field(ax: Axes, column: int, row: int, width: float, v: Verdict, solver: str) -> None:
    """One verdict, so many points wide: the name above, the value and the number of ties below."""
    strength = SURE if v.best and not v.ties else TIED
    tint = to_rgba(colour(solver), strength) if v.best else "none"
    ax.add_patch(Rectangle((column + 0.02, row + 0.05), 0.96, 0.9, facecolor=tint, edgecolor="none"))
    size = min(8.5, width / (0.68 * max(len(v.best), 1)))
    middle: dict[str, Any] = {"ha": "center", "va": "center", "color": INK}
    if not v.best:
        ax.text(column + 0.5, row + 0.5, "below the floor", fontsize=8, **middle)
        return
    ax.text(column + 0.5, row + 0.32, v.best, fontsize=size, fontweight="normal" if v.ties else "bold", **middle)
    ties = f"  ·  {len(v.ties)} tie{'s' * (len(v.ties) > 1)}" if v.ties else ""
    ax.text(column + 0.5, row + 0.71, f"{number(v.value)}{ties}", fontsize=7.5, **middle)

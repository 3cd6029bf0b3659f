"""Where the error comes from, in stores of suites whose choices are crossed: tables, a chart and what they say."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorebench.bench.attribution import RESIDUAL, Effect, Term, analysis, main_effects
from scorebench.bench.jackknife import GROUPS
from scorebench.bench.pairing import LEVEL

from .results import Results
from .style import COLOURS, FAINT, MARKERS
from .wording import count, interval, names, number

SHOWN = 0.01  # of the variance: a term that makes less at every budget is only counted in the chart
SMALLEST = np.finfo(np.float32).tiny  # of an error, before its logarithm


@dataclass(frozen=True)
class Crossing:
    """Per-sample errors of every combination of levels, of one suite, model and budget: log errors (n, levels…)."""

    suite: str
    model: str
    budget: float
    levels: dict[str, list[str]]
    log_error: np.ndarray

    @cached_property
    def terms(self) -> list[Term]:
        return analysis(self.log_error, list(self.levels))

    @cached_property
    def effects(self) -> list[Effect]:
        return list(main_effects(self.log_error, self.levels))


def crossings(results: Results) -> Iterator[Crossing]:
    """Every complete crossing of a store; where a combination is missing, or failed, or has other samples, there is none."""
    cells = results.frame.drop_duplicates("cell").set_index("cell")
    for suite in results.suites:
        given: dict[str, dict[str, str]] = suite.get("levels", {})
        listed = [given[key] for key in suite["cells"] if given.get(key)]
        levels = {name: list(dict.fromkeys(at[name] for at in listed)) for name in (listed[0] if listed else ())}
        mine = cells.loc[[key for key in suite["cells"] if given.get(key) and key in cells.index]]
        mine = mine[(mine["pass"] == "sample") & (mine["status"] == "ok")]
        for (model, _), group in mine.groupby(["model", "budget"], sort=False):
            found = {tuple(given[key].values()): results.arrays[key].get("error") for key in group.index}
            errors = [error for at in product(*levels.values()) if (error := found.get(at)) is not None]
            n = min(map(len, errors), default=0)
            if len(errors) == prod(map(len, levels.values())) and 2 * GROUPS <= n == max(map(len, errors)):
                stacked = np.stack(errors, 1).reshape(n, *map(len, levels.values()))
                log_error, budget = np.log(np.maximum(stacked, SMALLEST)), float(group["budget"].iloc[0])
                yield Crossing(str(suite["name"]), str(model), budget, levels, log_error)


def shares(found: list[Crossing]) -> pd.DataFrame:
    """One row for each model, budget and term: its degrees of freedom, and its share of the variance with its interval."""
    columns = "suite model budget n_samples term df share low high".split()
    rows = [
        (c.suite, c.model, c.budget, len(c.log_error), term.name, term.freedom, *term.share.interval())
        for c in found
        for term in c.terms
    ]
    return pd.DataFrame(rows, columns=columns)


def effects(found: list[Crossing]) -> pd.DataFrame:
    """One row for each model, budget and level: its geometric mean error over that of all levels of its factor."""
    columns = "suite model budget n_samples factor level ratio low high".split()
    rows = [
        (c.suite, c.model, c.budget, len(c.log_error), e.factor, e.level, *np.exp(e.log_ratio.interval()))
        for c in found
        for e in c.effects
    ]
    return pd.DataFrame(rows, columns=columns)


def by_model(found: list[Crossing]) -> Iterator[list[Crossing]]:
    """The crossings of each suite and model, a budget each."""
    for name in dict.fromkeys((c.suite, c.model) for c in found):
        yield sorted((c for c in found if (c.suite, c.model) == name), key=lambda c: c.budget)


def tables(results: Results) -> Iterator[tuple[str, str, list[str], list[list[str]]]]:
    """(model, title, headings, rows): the analysis of variance of each model."""
    for several in by_model(list(crossings(results))):
        first = several[0]
        ordered = [{term.name: term for term in c.terms} for c in several]
        lines = []
        for term in first.terms:
            cells = [percent(*terms[term.name].share.interval()) for terms in ordered]
            lines.append([term.name, count(term.freedom), *cells])
        title = (
            f"Which choice makes the error: shares of the variance of log errors within {len(first.log_error)} samples"
        )
        yield first.model, title, ["term", "df", *(f"{count(c.budget)} calls" for c in several)], lines


def percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def caption(several: list[Crossing]) -> str:
    """What makes most of the error at the budget nearest to ten calls, and which levels are best there."""
    chosen = min(several, key=lambda c: abs(np.log(c.budget / 10)))
    terms = {term.name: term for term in chosen.terms}
    rest = terms.pop(RESIDUAL)
    largest = [f"{name} {percent(*term.share.interval())}" for name, term in list(terms.items())[:3]]
    mixed = sum(term.share.value for term in terms.values() if len(term.factors) > 1)
    said = [smallest([e for e in chosen.effects if e.factor == f]) for f in chosen.levels]
    return (
        f"At {count(chosen.budget)} calls most of the variance of log errors within samples is made by {names(largest)}; "
        f"all interactions together make {100 * mixed:.0f} %, and {100 * rest.share.value:.0f} % is how differently samples "
        f"take the same choice. Averaged over the other choices the smallest errors have {names(said)}, as ratios to the "
        "geometric mean over the levels. Shares are unbiased, so that one without effect may lie below 0."
    )


def smallest(levels: list[Effect]) -> str:
    """The level of one factor with the smallest errors, and those that tie with it, corrected for their number."""
    best, *others = sorted(levels, key=lambda e: e.log_ratio.value)
    enough = 1 - LEVEL / max(len(others), 1)
    ties = [e.level for e in others if (e.log_ratio - best.log_ratio).interval(enough)[1] <= 0]
    tied = f"; {names(ties)} {'tie' if len(ties) > 1 else 'ties'} with it" if ties else ""
    return f"{best.factor} {best.level} ({ratio(best)}{tied})"


def ratio(effect: Effect) -> str:
    value, low, high = np.exp(effect.log_ratio.interval())
    return f"× {number(value)} {interval(low, high)}"


def chart(several: list[Crossing]) -> Figure:
    """Shares of the terms on the left and the levels' main effects on the right, a mark for each budget."""
    most = {term.name: max(_share(c, term.name) for c in several) for term in several[0].terms}
    terms = [name for name in most if most[name] >= SHOWN]
    levels = [(e.factor, e.level) for e in several[0].effects]
    figure = Figure(figsize=(10.5, 1.5 + 0.29 * max(len(terms), len(levels) + len(several[0].levels))))
    left, right = figure.subplots(1, 2)
    places = _rows(left, {name: name for name in terms}, [])
    for mark, c in enumerate(several):
        found = {t.name: t.share.interval() for t in c.terms}
        _marks(left, [(places[name], *found[name]) for name in terms], mark, len(several), f"{count(c.budget)} calls")
    left.axvline(0, color=FAINT, lw=1)
    left.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    few = f"\nnot shown, as below {100 * SHOWN:.0f} %: {len(most) - len(terms)} of {len(most)}"
    left.set(xlabel="share of the variance of log errors within samples" + (few if len(most) > len(terms) else ""))
    ends = [k for k in range(1, len(levels)) if levels[k][0] != levels[k - 1][0]]
    places = _rows(right, {f"{f}|{level}": f"{f}: {level}" for f, level in levels}, ends)
    for mark, c in enumerate(several):
        ratios = {f"{e.factor}|{e.level}": np.exp(e.log_ratio.interval()) for e in c.effects}
        _marks(right, [(places[name], *ratios[name]) for name in places], mark, len(several), "")
    right.axvline(1, color=FAINT, lw=1)
    right.set_xscale("log")
    _log_ticks(right)
    right.set(xlabel="error over the geometric mean of all levels")
    figure.legend(*left.get_legend_handles_labels(), loc="lower left", frameon=False, fontsize=8.5)
    left.set_title(f"{several[0].model}: which choice makes the error", pad=12)
    right.set_title("and what each level does to it", pad=12)
    figure.tight_layout()
    return figure


def _share(crossing: Crossing, name: str) -> float:
    return next(term.share.value for term in crossing.terms if term.name == name)


def _rows(ax: Axes, labels: dict[str, str], ends: list[int]) -> dict[str, float]:
    """The places of named rows from above, with a gap before each of the places in `ends`."""
    places = {key: float(k + sum(k >= end for end in ends)) for k, key in enumerate(labels)}
    ax.set_yticks(list(places.values()), list(labels.values()))
    ax.set_ylim(max(places.values()) + 0.7, -0.7)
    ax.grid(axis="y", visible=False)
    return places


def _marks(ax: Axes, rows: list[tuple[float, float, float, float]], mark: int, marks: int, label: str) -> None:
    """Values with their intervals, (place, value, low, high) each, a little above or below those of other budgets."""
    shift = 0.22 * (mark - (marks - 1) / 2)
    for place, _, low, high in rows:
        ax.plot([low, high], [place + shift] * 2, color=COLOURS[mark], lw=1.6, alpha=0.75)
    values, heights = [row[1] for row in rows], [row[0] + shift for row in rows]
    ax.plot(values, heights, MARKERS[mark], color=COLOURS[mark], ms=4.5, label=label or "_")


def _log_ticks(ax: Axes) -> None:
    low, high = ax.get_xlim()
    ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= t <= high]
    if len(ticks) < 3:
        ticks = [t for t in (0.4, 0.6, 0.8, 1, 1.25, 1.6, 2.5) if low <= t <= high]
    ax.set_xticks(ticks, [f"× {t:g}" for t in ticks])
    ax.minorticks_off()

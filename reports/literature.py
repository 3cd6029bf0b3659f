"""Our rankings beside the published ones: Kendall's τ over the pairs of solvers that both have."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd

from .chooser import heading
from .results import Results
from .wording import interval, number

FIGURES = Path(__file__).resolve().parent.parent / "results/published/figures.csv"
BUDGETS, SHOWN = (5, 10, 20), 10
READ = ["nfe", "table", "ours", "value"]
MEASURES = ("fid", "error_median")
RESAMPLES, LEAST = 2000, 3  # fewer tables than that have no interval
CAN = (
    "A τ of 1 says that each two solvers stand in the same order here and there, −1 that all stand the other way round, 0 that "
    "neither tells of the other; two of ours whose intervals overlap count as neither order. Pairs are of one published "
    "table, so of one network, set of features and number of samples; the interval "
    "is a bootstrap over tables, which quote and resemble each other, so that it is rather too short. A high τ "
    "says that a ranking on our small models carries over to CIFAR-10. It confirms no value: published figures are FIDs of "
    "50,000 images of other networks, on grids and with last steps of their authors' choice, with no interval, and which "
    "solvers a paper lists is a choice too."
)
Table = tuple[list[str], list[list[str]]]
Value = tuple[float, float, float]  # with its interval


@dataclass(frozen=True)
class Agreement:
    """τ and its interval, of so many pairs in so many published tables; nan where nothing is known."""

    tau: float
    low: float
    high: float
    pairs: int
    tables: int


@cache
def published() -> dict[int, dict[str, dict[str, float]]]:
    """By network calls and table, of one paper and network, the FID of each of our solvers on CIFAR-10; empty without the file.

    Suspect figures are left out; of several variants of one solver the best counts.
    """
    if not FIGURES.is_file():
        return {}
    rows = pd.read_csv(FIGURES)
    rows = rows[(rows["dataset"] == "CIFAR-10") & (rows["metric"] == "FID") & rows["ours"].notna()]
    rows = rows[(rows["flag"] != "suspect") & rows["nfe"].isin(BUDGETS) & ~rows["model"].str.startswith("mixed")]
    rows = rows.assign(table=rows["paper"] + ", " + rows["model"].fillna(""))
    found: dict[int, dict[str, dict[str, float]]] = {}
    for nfe, table, solver, value in rows.sort_values("value", ascending=False)[READ].itertuples(index=False):
        found.setdefault(int(nfe), {}).setdefault(table, {})[solver] = float(value)
    return found


def agreement(ours: dict[str, Value], tables: dict[str, dict[str, float]]) -> Agreement:
    """Of our values by solver with the tables' values; equal ones, and ours whose intervals overlap, have neither order."""
    scores = []
    for table in tables.values():
        both = [name for name in table if name in ours]
        signs = [order(ours[a], ours[b]) * np.sign(table[a] - table[b]) for a, b in combinations(both, 2)]
        if signs:
            scores.append((float(np.sum(signs)), len(signs)))
    if not scores:
        return Agreement(nan, nan, nan, 0, 0)
    total, pairs = np.array(scores).T
    low = high = nan
    if len(scores) >= LEAST:
        drawn = np.random.default_rng(0).integers(len(scores), size=(RESAMPLES, len(scores)))
        low, high = np.quantile(total[drawn].sum(axis=1) / pairs[drawn].sum(axis=1), [0.025, 0.975])
    return Agreement(float(total.sum() / pairs.sum()), float(low), float(high), int(pairs.sum()), len(scores))


def order(one: Value, other: Value) -> int:
    """1 where the first value is larger, −1 where it is smaller, 0 where the intervals overlap."""
    return int(one[1] > other[2]) - int(one[2] < other[1])


def rankings(results: Results) -> Iterator[tuple[str, str, dict[int, dict[str, Value]]]]:
    """(model, measure, by budget the value of each solver as it comes: without options, its best grid)."""
    for metric in MEASURES:
        for model, measure, _, rows in results.principal(metric):
            plain = rows[(rows["options"] == "{}") & np.isfinite(rows["value"])]
            best = plain.sort_values("value").drop_duplicates(["budget", "solver"])
            found: dict[int, dict[str, Value]] = {budget: {} for budget in BUDGETS}
            for budget, solver, *value in best[["budget", "solver", "value", "low", "high"]].itertuples(index=False):
                found.get(budget, {})[solver] = (value[0], value[1], value[2])
            yield model, measure, found


def agreements(results: Results) -> Table:
    """A row for each model and measure that shares a pair with a published table."""
    rows = []
    for model, measure, ours in rankings(results):
        found = [agreement(ours.get(budget, {}), published().get(budget, {})) for budget in BUDGETS]
        if any(a.pairs for a in found):
            rows.append([model, heading(measure), *map(told, found)])
    return ["model", "measure", *(f"τ at {budget} calls" for budget in BUDGETS)], rows


def told(a: Agreement) -> str:
    if not a.pairs:
        return "–"
    few = f"{a.pairs} pair{'s' * (a.pairs > 1)} of {a.tables} table{'s' * (a.tables > 1)}"
    return f"{a.tau:.2f} {interval(a.low, a.high)} ({few})".replace("  ", " ")


def beside(results: Results) -> Table:
    """The solvers that both have at SHOWN calls: the published FIDs, and our rank and value on each model."""
    tables = published().get(SHOWN, {})
    ours = {(model, measure): found.get(SHOWN, {}) for model, measure, found in rankings(results)}
    ours = {name: values for name, values in ours.items() if values}
    solvers = {name for table in tables.values() for name in table}.intersection(*[set().union(*ours.values())])
    figures = {name: [table[name] for table in tables.values() if name in table] for name in solvers}
    rows = []
    for name in sorted(solvers, key=lambda solver: float(np.median(figures[solver]))):
        few = f"{len(figures[name])} table{'s' * (len(figures[name]) > 1)}"
        ends = f"{number(min(figures[name]))} to {number(max(figures[name]))}, {few}"
        rows.append([name, f"{number(float(np.median(figures[name])))} ({ends})"])
        for values in ours.values():
            place = sorted((values[s], s) for s in solvers if s in values)
            at = f"{place.index((values[name], name)) + 1}: {number(values[name][0])}" if name in values else "–"
            rows[-1].append(at)
    columns = [f"{model}, {heading(measure)}" for model, measure in ours]
    return ["solver", f"published FID at {SHOWN} calls, median", *columns], rows

"""Which sampler, at my budget: everyone that fits it, ranked, with who ties with the best."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scorebench.reference_models.errors import UsageError, unknown

from .results import Arrays, Results
from .verdicts import Contest, most_accurate, with_time
from .wording import count, names, number, with_interval

MEASURES = {
    "error": "error_median", "fid": "fid", "likelihood": "likelihood_error", "round-trip": "round_trip_error",
}  # fmt: skip
CLOCKS = {"error": "time_ms", "fid": "time_ms", "likelihood": "likelihood_ms"}  # round trips are not timed
CHOSEN = ["label", "solver", "options", "grid", "budget", "nfe_mean", "ms", "value", "low", "high", "cell"]
LIMITS = {"nfe": "network calls", "ms": "milliseconds", "quality": ""}


@dataclass(frozen=True)
class Question:
    """A model, what counts, and one limit: network calls, milliseconds a batch, or the value that must be reached."""

    model: str
    limit: str
    amount: float
    by: str = "error"
    deterministic: bool = False
    device: str | None = None

    @property
    def text(self) -> str:
        if self.limit == "quality":
            return f"{self.by} of at most {number(self.amount)}"
        return f"at most {count(self.amount)} {LIMITS[self.limit]}"


@dataclass(frozen=True)
class Choice:
    """One entrant: what it is, what it spends, what it reaches, and how it stands to the best."""

    label: str
    solver: str
    options: dict[str, Any]
    grid: str
    budget: float
    nfe: float
    ms: float
    value: float
    low: float
    high: float
    standing: str  # best, tie or worse
    cell: str


@dataclass(frozen=True)
class Answer:
    """The entrants, best first, and why the first is."""

    question: Question
    measure: str
    unit: str
    field: str
    choices: list[Choice]
    why: list[str]

    @property
    def best(self) -> Choice:
        return self.choices[0]

    @property
    def ties(self) -> list[Choice]:
        return [choice for choice in self.choices if choice.standing == "tie"]


def choose(results: Results, question: Question) -> Answer:
    """Rank what fits the limit; UsageError where nothing was measured, or nothing fits, with what would.

    Of each solver on each grid the best cell within the limit competes; to reach a quality, its cheapest, whose interval lies
    below it, and the fewest calls win, the smaller value among equally many.
    """
    return answer(question, results.arrays, *measured(results, question))


def answer(question: Question, arrays: dict[str, Arrays], measure: str, field: str, rows: pd.DataFrame) -> Answer:
    """As `choose`, of the rows that `measured` found for the question; other amounts may be asked of the same rows."""
    fits, cost = fitting(rows, question), "ms" if question.limit == "ms" else "nfe_mean"
    if fits.empty:
        verb = "reaches" if question.limit == "quality" else "fits"
        raise UsageError(f"{question.model}: nothing {verb} {question.text}; {nearest(rows, question)}")
    contest = Contest(fits, arrays, question.amount, question.limit)
    ranked = contest.ranked
    if ranked.empty:
        raise UsageError(f"{question.model}: all that fits is nearer to the data than other real data: memorisation?")
    if question.limit == "quality":
        ranked = ranked.sort_values([cost, "value"], kind="stable").reset_index(drop=True)
        contest = Contest(ranked, arrays, question.amount, question.limit)
    level = contest.against(0, len(ranked) - 1)
    equal = ranked[cost] <= ranked[cost][0] if question.limit == "quality" else pd.Series(True, ranked.index)
    standings = ["best"] + ["tie" if v == 0 and e else "worse" for v, e in zip(level[1:], equal[1:], strict=True)]
    choices = [
        chosen(row, standing) for row, standing in zip(ranked[CHOSEN].to_dict("records"), standings, strict=True)
    ]
    return Answer(question, measure, str(rows["unit"].iloc[0] or ""), field, choices, reasons(question, choices))


def measured(results: Results, question: Question) -> tuple[str, str, pd.DataFrame]:
    """The measure, its field and the rows that a question is about, with `ms` where they were timed."""
    if question.by not in MEASURES:
        raise unknown("measure", question.by, MEASURES)
    if question.limit == "ms" and question.by not in CLOCKS:
        raise UsageError(f"{question.by} is not timed: give --nfe or --quality, or ask by {', '.join(CLOCKS)}")
    metric, models = MEASURES[question.by], [str(model) for model in results.frame["model"].unique()]
    found = [
        (measure, field, rows) for model, measure, field, rows in results.principal(metric) if model == question.model
    ]
    if not found:
        what = f"{question.by} of {question.model}"
        if question.model not in models:
            raise UsageError(f"{unknown('model in the store', question.model, models)}; or {remedy(results, question)}")
        raise UsageError(f"the store has no {what}: {remedy(results, question)}")
    measure, field, rows = found[0]
    if question.deterministic:
        rows = rows[rows["kind"] == "ode"]
    rows = timed(results, question, rows)
    return measure, field, rows


def timed(results: Results, question: Question, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their milliseconds: those alone that have some where milliseconds are what counts."""
    clocks = [
        found
        for model, _, _, found in results.principal(CLOCKS.get(question.by, ""))
        if model == question.model and (question.device in (None, *found["device"]))
    ]
    if clocks and question.limit == "ms":
        return with_time(rows, clocks[0])
    if question.limit == "ms":
        raise UsageError(f"the store has no times of {question.model}: {remedy(results, question)}")
    if not clocks:
        return rows.assign(ms=np.nan)
    same = ["solver", "options", "grid", "budget"]
    return rows.merge(clocks[0][[*same, "value"]].rename(columns={"value": "ms"}), on=same, how="left")


def fitting(rows: pd.DataFrame, question: Question) -> pd.DataFrame:
    """Of each entrant the cell that competes."""
    match question.limit:
        case "nfe":
            return most_accurate(rows[rows["nfe_max"] <= question.amount])
        case "ms":
            return most_accurate(rows[rows["ms"] <= question.amount])
    reached = rows[(rows["high"] <= question.amount) & np.isfinite(rows["value"])]
    cheapest: pd.DataFrame = reached.sort_values(["nfe_mean", "value"], kind="stable").drop_duplicates("label")
    return cheapest.reset_index(drop=True)


def nearest(rows: pd.DataFrame, question: Question) -> str:
    """What could be had."""
    match question.limit:
        case "nfe":
            return f"the fewest calls measured are {count(rows['nfe_max'].min())}"
        case "ms":
            return f"the shortest time measured is {number(rows['ms'].min())} ms"
    return f"the best measured is {number(rows['value'].min())}"


def remedy(results: Results, question: Question) -> str:
    """The command that measures what a question needs, into the store that was asked."""
    suite = "likelihood" if question.by in ("likelihood", "round-trip") else "standard"
    words = ["scorebench", "run", suite, "--store", str(results.root), "--model", question.model]
    words += ["--budget", str(int(question.amount))] if question.limit == "nfe" else []
    words += ["--timed"] if question.limit == "ms" else []
    words += ["--device", question.device] if question.device is not None else []
    return f"measure it with `{shlex.join(words)}`"


def chosen(row: dict[Any, Any], standing: str) -> Choice:
    values = {name: float(row[name]) for name in ("budget", "ms", "value", "low", "high")}
    return Choice(
        label=str(row["label"]), solver=str(row["solver"]), options=json.loads(row["options"]), grid=str(row["grid"]),
        nfe=float(row["nfe_mean"]), standing=standing, cell=str(row["cell"]), **values,
    )  # fmt: skip


def reasons(question: Question, choices: Sequence[Choice]) -> list[str]:
    """Why the first is first, in sentences."""
    best = choices[0]
    ties, losers = ([c for c in choices if c.standing == standing] for standing in ("tie", "worse"))
    many, by_quality = len(choices) > 1, question.limit == "quality"
    verb = ("reach" + "es" * (not many)) if by_quality else ("fit" + "s" * (not many))
    said = [f"{len(choices)} entrant{'s' * many} {verb} {question.text}."]
    first = f"fewest calls, {count(best.nfe)}, with" if by_quality else f"smallest {question.by}:"
    said.append(f"{best.label} has the {first} {with_interval(best.value, best.low, best.high)}.")
    if ties:
        said.append(
            f"{names([c.label for c in ties])} tie{'s' * (len(ties) == 1)} with it: the interval of the paired difference, "
            "corrected for the number of entrants, contains 0 (of two medians: that of their ratio, 1)."
        )
    if losers and question.limit != "quality":
        said.append(
            f"The next, {losers[0].label}, is {losers[0].value / best.value:.2f} times as far off, beyond doubt."
        )
    elif losers:
        said.append(f"The next, {losers[0].label}, needs {count(losers[0].nfe)} calls, or is worse at as many.")
    return said

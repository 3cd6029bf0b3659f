"""The first screen of the page: what `choose` answers at every limit that changes the answer, ready to be looked up."""

import json
from collections.abc import Iterator
from dataclasses import replace
from math import floor, isnan, log10
from typing import Any

import numpy as np
import pandas as pd

from scorebench.bench.snippets import PYTHON, TOML, parts, scheduler_by_facts
from scorebench.reference_models.errors import UsageError

from .choose import LIMITS, Answer, Choice, Question, answer, measured
from .results import Results
from .wording import count, number, with_interval

Json = dict[str, Any]
HEADINGS = {
    "error_median": "Median error", "likelihood_error": "Likelihood error", "round_trip_error": "Round-trip error"
}  # fmt: skip
BY = ("error", "fid", "likelihood")
SHOWN = 12
STOPS = 24  # of a slider
WORDS = "model metric measure unit label solver options grid cell".split()
NUMBERS = "budget n_samples nfe_mean nfe_max ms value low high floor floor_low floor_high".split()
COST = {"nfe": "nfe_max", "ms": "ms", "quality": "high"}


def heading(measure: str) -> str:
    """A measure as a title."""
    return HEADINGS.get(measure) or measure.replace("excess_fid[", "excess FID[").replace("fid[", "FID[")


def data(results: Results) -> Json:
    """What the script of the page looks up: by model and measure the entrants, and the answers at each limit."""
    models = list(dict.fromkeys(results.frame["model"].astype(str)))
    found = [(model, [part for by in BY if (part := _measure(results, model, by))]) for model in models]
    return {
        "templates": {"python": PYTHON, "toml": TOML},
        "models": [{"name": model, "measures": measures} for model, measures in found if measures],
    }


def script(body: Json) -> str:
    """The JSON as the text of a script element, which no content can end."""
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _measure(results: Results, model: str, by: str) -> Json:
    """The answers about one measure of one model; empty where it was not measured."""
    entrants: dict[str, Json] = {}
    limits, measure, field = {}, "", ""
    for limit in LIMITS:
        stops = []
        for found in answers(results, Question(model, limit, 1.0, by)):
            measure, field, amount = found.measure, found.field, found.question.amount
            shown = found.choices[:SHOWN]
            for choice in shown:
                entrants.setdefault(choice.cell, _entrant(results, model, choice))
            order = list(entrants)
            places = [[order.index(c.cell), c.standing] for c in shown]
            ties = [c.label for c in found.ties]
            more = len(found.choices) - len(shown)
            stops.append({"amount": amount, "text": found.question.text, "places": places, "ties": ties, "why": found.why,
                          "more": more})  # fmt: skip
        if stops:
            limits[limit] = stops
    body = {
        "by": by,
        "heading": heading(measure),
        "field": field,
        "limits": limits,
        "entrants": list(entrants.values()),
    }
    return body if limits else {}


def answers(results: Results, question: Question) -> Iterator[Answer]:
    """The answers at every limit that changes them, thinned to STOPS; none where nothing was measured."""
    try:
        measure, field, every = measured(results, question)
    except UsageError:
        return
    rows = every[[*WORDS, *NUMBERS]].astype(dict.fromkeys(WORDS, object))  # a hundred questions of one small table
    for amount in amounts(rows, question.limit):
        try:
            yield answer(replace(question, amount=amount), results.arrays, measure, field, rows)
        except UsageError:  # all that fits lies below the floor, or cannot be compared
            continue


def amounts(rows: pd.DataFrame, limit: str) -> list[float]:
    """The limits, ascending, at which one more cell fits, rounded up to three digits; at most STOPS, first and last kept."""
    finite = rows.loc[np.isfinite(rows["value"]) & np.isfinite(rows[COST[limit]]), COST[limit]]
    distinct = sorted({rounded_up(float(value)) for value in finite if value > 0})
    if len(distinct) <= STOPS:
        return distinct
    return [distinct[i] for i in np.linspace(0, len(distinct) - 1, STOPS).round().astype(int)]


def rounded_up(value: float) -> float:
    """The smallest number of three significant digits that is not smaller."""
    exponent = floor(log10(value)) - 2
    scaled = value / 10.0**exponent
    digits = round(scaled) if abs(scaled - round(scaled)) < 1e-9 else floor(scaled) + 1
    return float(f"{digits}e{exponent}")


def _entrant(results: Results, model: str, choice: Choice) -> Json:
    """The texts of one entrant: its row of the table, and what to paste."""
    budget = None if isnan(choice.budget) else int(choice.budget)
    facts = results.models.get(model, {}), results.solvers.get(choice.solver, {})
    return {
        "label": choice.label,
        "row": [
            with_interval(choice.value, choice.low, choice.high),
            count(choice.nfe),
            number(choice.ms),
            choice.grid,
            "" if budget is None else count(choice.budget),
        ],
        "parts": parts(model, choice.solver, choice.options, choice.grid, budget),
        "diffusers": scheduler_by_facts(*facts, choice.options, choice.grid, budget),
    }

"""The levels of a comparison, from exact to noisy: cells, counts, golden numbers, quality, time.

Counts are equal or they are not. The same seeds give the same numbers, but for rounding: golden numbers. Where seeds differ,
or beside that, quality must not be worse than a margin beyond doubt. Time is compared on one machine alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import hypot
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd

from scorebench.bench.pairing import by_group, by_sample
from scorebench.reports.results import TIMED, Arrays
from scorebench.reports.verdicts import PAIRED

from .side import CELL, COUNTS, ROW, Side

LEVELS = ("cells", "counts", "golden", "quality", "time")
DOUBT = 1e-3  # of one false alarm in a whole comparison of quality
HALF = NormalDist().inv_cdf(0.975)
SAME = {"float32": 1e-3, "float64": 1e-6}  # relative, of golden numbers on one machine with one torch
ACROSS = {"float32": 2e-2, "float64": 1e-3}
SLACK = {"float32": 1e-5, "float64": 1e-9}  # absolute; ten times as much of a likelihood, a sum over a path
OTHER_STEPS = 0.02  # by so much the calls of an adaptive method move where rounding turns a step or two down
SHARES = ("class_changed", "precision", "recall")  # of n samples: they move by two of them
UP_IS_BETTER = ("precision", "recall")
SIGNED = ("likelihood_bias",)  # zero is best
NEUTRAL = ("nll",)  # the model's own, not the solver's
MARGIN = {"error_median": 0.02, "error_p90": 0.02, "round_trip_error": 0.02}  # relative
ABSOLUTE = {
    "likelihood_error": 0.005,
    "likelihood_bias": 0.005,
    "class_changed": 0.01,
    "precision": 0.02,
    "recall": 0.02,
}
RELATIVE, ERRORS = 0.05, 2.0  # the margin of other measures: a share, or so many standard errors if that is more
SLOWER = 1.10

Row = dict[Any, Any]  # one of both sides: the columns of the base, and those of the new side with " new"


@dataclass(frozen=True)
class Finding:
    """A difference that counts: a regression, a warning, an improvement, or a cell that is new."""

    level: str
    verdict: str
    model: str
    kind: str
    solver: str
    budget: float
    measure: str
    base: float | None
    new: float | None
    why: str


def cells(base: Side, new: Side) -> Iterator[Finding]:
    """Cells that one side lacks, and those that worked on one alone."""
    both = _joined(_cells(base), _cells(new), CELL, "outer")
    for row in both.to_dict("records"):
        was, now = row["status"], row["status new"]
        if row["_merge"] == "left_only":
            yield _found("cells", "regression", row, "status", why="not measured any more")
        elif row["_merge"] == "right_only":
            yield _found("cells", "new", row, "status", why="nothing to compare it with")
        elif was != now and "ok" in (was, now):
            worse = now != "ok"
            message = row["message new"] if worse else row["message"]
            yield _found("cells", _verdict(worse), row, "status", why=f"{was} → {now}: {message}")


def counts(base: Side, new: Side) -> Iterator[Finding]:
    """Network calls, products and FLOPs that are not the same.

    Those of adaptive methods are compared for the same seeds, calls by their mean alone, which may move a little, and products
    by how many there are to a call: rounding turns down a step here and there, and one sample more or less moves a maximum.
    """
    both = _joined(_cells(base), _cells(new), CELL)
    both = both[(both["status"] == "ok") & (both["status new"] == "ok")]
    adaptive = both["budget"].isna()
    for name in COUNTS:
        yield from _uneven(both[~adaptive], name)
    stepped = both[adaptive & (both["seed_block"] == both["seed_block new"])]
    yield from _uneven(stepped, "nfe_mean", OTHER_STEPS)
    for name in ("vjps", "jvps"):
        yield from _uneven(stepped, name, per="calls")


def _uneven(both: pd.DataFrame, name: str, share: float = 1e-8, per: str | None = None) -> Iterator[Finding]:
    """Rows whose count moved by more than a share of it; of two, how many there are to one."""
    was, now = (
        both[name + side].to_numpy(dtype=float) / (both[per + side].to_numpy(dtype=float) if per else 1.0)
        for side in ("", " new")
    )
    for row in both[np.abs(now - was) > share * np.abs(was)].to_dict("records"):
        worse = row[f"{name} new"] > row[name]
        yield _found("counts", _verdict(worse), row, name, row[name], row[f"{name} new"], "not equal")


def golden(base: Side, new: Side) -> Iterator[Finding]:
    """Numbers from the same seeds that differ by more than rounding explains."""
    both = _comparable(base, new)
    both = both[both["seed_block"] == both["seed_block new"]]
    for row, worse, limit in zip(both.to_dict("records"), _worse(both), tolerance(both), strict=True):
        if abs(row["value new"] - row["value"]) > limit and row["metric"] not in NEUTRAL:
            change = (row["value new"] - row["value"]) / max(abs(row["value"]), 1e-300)
            why = f"{change:+.2g} of it, rounding explains {limit / max(abs(row['value']), 1e-300):.1g}"
            yield _found("golden", _verdict(worse > 0), row, None, row["value"], row["value new"], why)


def tolerance(both: pd.DataFrame) -> np.ndarray:
    """What rounding explains of a golden number: on one machine, or across machines.

    Where it made an adaptive method take other steps, or may have, on another machine, the margin of its quality.
    """
    dtype, one = both["dtype"], _one_place(both)
    relative = np.where(one, dtype.map(SAME), dtype.map(ACROSS))
    slack = dtype.map(SLACK).to_numpy(dtype=float) * np.where(both["pass"] == "likelihood", 10, 1)
    slack = slack + np.where(both["metric"].isin(SHARES), 2.5 / both["n_samples"].clip(lower=1), 0)
    limit = relative.astype(float) * both["value"].abs() + slack
    stepped = both["budget"].isna() & (~one | (both["nfe_mean"] != both["nfe_mean new"]))
    errors = ((both["high"] - both["low"]) / 2 / HALF).fillna(0.0)
    told = zip(both.to_dict("records"), errors, stepped, strict=True)
    margins = [margin(row, error) if other else 0.0 for row, error, other in told]
    return np.asarray(np.maximum(limit.to_numpy(), margins))


def quality(base: Side, new: Side) -> Iterator[Finding]:
    """Measures that are worse, or better, than a margin beyond doubt: paired where the samples are the same."""
    both = _comparable(base, new)
    both = both[~both["metric"].isin(NEUTRAL) & both[["low", "high", "low new", "high new"]].notna().all(axis=1)]
    doubt = DOUBT / max(len(both), 1)
    for row, worse in zip(both.to_dict("records"), _worse(both), strict=True):
        if abs(worse) <= margin(row, 0.0):
            continue
        error, critical = deviation(row, base.arrays, new.arrays, doubt)
        limit = margin(row, error)
        if abs(worse) - critical * error > limit:
            why = f"{worse:+.3g} [± {critical * error:.2g}] worse, the margin is {limit:.2g}"
            yield _found("quality", _verdict(worse > 0), row, None, row["value"], row["value new"], why)


def deviation(row: Row, base: dict[str, Arrays], new: dict[str, Arrays], doubt: float) -> tuple[float, float]:
    """The standard error of a row's difference, and how many of them so little doubt leaves."""
    was, now = base.get(str(row["cell"]), {}), new.get(str(row["cell new"]), {})
    metric, measure = str(row["metric"]), str(row["measure"])
    same = row["seed_block"] == row["seed_block new"]
    if same and metric in PAIRED and _same_samples(was, now):
        pair = by_sample(np.abs(np.stack([was["error"], now["error"]])).astype(float), PAIRED[metric])
    elif same and measure in was and measure in now:
        pair = by_group(np.stack([was[measure], now[measure]]))
    else:
        halves = [(row[f"high{side}"] - row[f"low{side}"]) / 2 for side in ("", " new")]
        return hypot(*halves) / HALF, NormalDist().inv_cdf(1 - doubt / 2)
    return float(pair.deviation(0)[1]), pair.critical(max(round(0.05 / doubt), 1))


def margin(row: Row, error: float) -> float:
    """How much worse a measure may be."""
    metric, value = str(row["metric"]), abs(row["value"])
    if metric in MARGIN:
        return float(MARGIN[metric] * value + SLACK[row["dtype"]])
    return float(ABSOLUTE.get(metric, max(RELATIVE * value, ERRORS * error)))


def times(base: Side, new: Side, sure: bool = True) -> Iterator[Finding]:
    """Times on one machine, in units of the network calls in them: load slows both alike.

    Beyond a tenth, and unless `sure` is false beyond both intervals. One run of each side only ever warns: `confirmed` says
    what more of them confirm.
    """
    was, now = in_calls(base.rows, new.rows)
    both = _joined(was, now, [*CELL, "threads"])
    for row in both[_one_place(both)].to_dict("records"):
        ratio, more = row["units new"] / row["units"], row["units new"] - row["units"]
        ends = ("high", "low new") if more > 0 else ("low", "high new")
        doubt = hypot(*(row[f"units {end}"] - row["units new" if "new" in end else "units"] for end in ends))
        if 1 / SLOWER <= ratio <= SLOWER or (sure and abs(more) <= doubt):
            continue
        verdict = "warning" if ratio > 1 else "improvement"
        why = f"{ratio:.2f} times as long, in units of its own network calls"
        yield _found("time", verdict, row, None, row["value"], row["value new"], why)


def in_calls(*sides: pd.DataFrame) -> list[pd.DataFrame]:
    """The times of each side's cells with `units`, what they are in network calls, between quartiles.

    By CPU time and round for round where both sides have that, else (a store of before) by what the overhead leaves of the time.
    """
    counted = all((rows["metric"] == "time_in_calls").any() for rows in sides)
    measure = "time_in_calls" if counted else "overhead_ms"
    found = []
    for rows in sides:
        beside = rows[rows["metric"] == measure][[*CELL, "threads", "value", "low", "high"]]
        timed = rows[rows["metric"] == "time_ms"].merge(beside, on=[*CELL, "threads"], suffixes=("", " units"))
        one = 1.0 if counted else timed["value"] - timed["value units"]
        values = {name: timed[name + " units"] / one + (not counted) for name in ("value", "low", "high")}
        found.append(
            timed.assign(**{"units": values["value"], "units low": values["low"], "units high": values["high"]})
        )
    return found


def confirmed(found: list[Finding], rounds: list[tuple[Side, Side]]) -> list[Finding]:
    """Findings in which the times that every later round of the same cells found slower too are regressions."""

    def key(f: Finding) -> tuple[str, str, str, str]:
        return f.model, f.kind, f.solver, str(f.budget)

    slow = [{key(f) for f in times(*sides, sure=False) if f.verdict == "warning"} for sides in rounds]

    def again(f: Finding) -> Finding:
        if f.level != "time" or f.verdict != "warning":
            return f
        seen = sum(key(f) in others for others in slow)
        why = f"{f.why}; again in {seen} of {len(slow)} rounds more"
        return replace(f, verdict="regression" if seen == len(slow) else "warning", why=why)

    return [again(f) for f in found]


RULES = {"cells": cells, "counts": counts, "golden": golden, "quality": quality, "time": times}


def _comparable(base: Side, new: Side) -> pd.DataFrame:
    """Rows of both sides, side by side, of the same weights, with a value on both, the time pass left out."""
    both = _joined(base.rows, new.rows, ROW)
    same = (both["model_digest"] == both["model_digest new"]) | (both["model_digest"] == "")
    timed = both["pass"].isin(TIMED)
    kept: pd.DataFrame = both[same & ~timed & np.isfinite(both["value"]) & np.isfinite(both["value new"])]
    return kept


def _cells(side: Side) -> pd.DataFrame:
    return side.rows.drop_duplicates(CELL)


def _joined(
    base: pd.DataFrame, new: pd.DataFrame, on: list[str], how: Literal["inner", "outer"] = "inner"
) -> pd.DataFrame:
    left, right = (side.assign(features=side["features"].astype("object").fillna("")) for side in (base, new))
    return left.merge(right, on=on, how=how, suffixes=("", " new"), indicator=True)


def _one_place(both: pd.DataFrame) -> "pd.Series[bool]":
    return (both["machine"] == both["machine new"]) & (both["torch_version"] == both["torch_version new"])


def _worse(both: pd.DataFrame) -> np.ndarray:
    """By how much each row is worse; negative where it is better."""
    was, now = both["value"].to_numpy(dtype=float), both["value new"].to_numpy(dtype=float)
    signed = both["metric"].isin(SIGNED).to_numpy()
    change = np.where(signed, np.abs(now) - np.abs(was), now - was)
    return np.asarray(np.where(both["metric"].isin(UP_IS_BETTER), -change, change))


def _same_samples(was: Arrays, now: Arrays) -> bool:
    return "error" in was and "error" in now and np.array_equal(was["index"], now["index"])


def _verdict(worse: bool) -> str:
    return "regression" if worse else "improvement"


def _found(
    level: str,
    verdict: str,
    row: Row,
    measure: str | None,
    base: float | None = None,
    new: float | None = None,
    why: str = "",
) -> Finding:
    label = row["label"] if isinstance(row["label"], str) else row["label new"]
    place = (str(row["model"]), str(row["pass"]), str(label), float(row["budget"]))
    return Finding(level, verdict, *place, str(measure or row["measure"]), base, new, why)

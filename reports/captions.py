"""One sentence under each figure which says what to conclude, computed from the verdicts."""

import math
from collections.abc import Sequence

import numpy as np

from .results import Results
from .strip import Blocks
from .verdicts import Verdict
from .wording import count, names, number, with_interval

SUPERLATIVE = {
    "error_median": "the smallest median error",
    "likelihood_error": "the smallest likelihood error",
    "round_trip_error": "the smallest round-trip error",
    "fid": "the smallest Fréchet distance",
}


def of_calls(verdicts: Sequence[Verdict], metric: str) -> str:
    """What holds at the budget nearest to ten calls."""
    if not verdicts:
        return "No solver finished within a common budget, so no best can be named."
    verdict = nearest(verdicts, 10)
    known = metric == "fid" and math.isfinite(verdict.floor)
    floor = f", where real against real data gives {number(verdict.floor)}" if known else ""
    suspects = f"; {suspicion(verdict)}" if verdict.memorisation else ""
    if not verdict.best:
        return f"At {count(verdict.budget)} calls {suspicion(verdict)}."
    value = with_interval(verdict.value, verdict.low, verdict.high)
    start = f"At {count(verdict.budget)} calls {verdict.best} has {SUPERLATIVE[metric]}, {value}{floor}"
    return f"{start}; {tie(verdict)}{suspects}."


def of_time(verdicts: Sequence[Verdict], field: str) -> str:
    """What holds at the time limit in the middle."""
    if not verdicts:
        return f"No solver was timed and compared ({field})."
    verdict = verdicts[len(verdicts) // 2]
    value = with_interval(verdict.value, verdict.low, verdict.high)
    start = f"Within {verdict.budget:g} ms {verdict.best} has {SUPERLATIVE[verdict.metric]}, {value}"
    return f"{start}; {tie(verdict)} ({field})."


def of_strip(results: Results, model: str, shown: Blocks) -> str:
    """Nearest to and farthest from the reference, of who is shown, at the smallest budget shown."""
    start = "All rows start from the same eight latents, and an exact deterministic solver repeats the reference"
    if shown.others:
        start = f"The best {len(shown.rows)} of {len(shown.rows) + shown.others} solvers over these budgets. {start}"
    budget = min(shown.budgets)
    found = [rows for name, _, _, rows in results.principal("error_median") if name == model]
    found = [rows[(rows["budget"] == budget) & rows["label"].isin(list(shown.rows))] for rows in found]
    if not found or len(found[0]) < 2:
        return f"{start}."
    rows = found[0].sort_values("value")
    (near, far), (small, large) = rows["label"].iloc[[0, -1]], rows["value"].iloc[[0, -1]]
    return (
        f"{start}: at {count(budget)} calls {near} comes nearest, with a median error of {number(small)}, "
        f"and {far} stays farthest, with {number(large)}."
    )


def of_interpolation(rows: np.ndarray) -> str:
    """How near the decoded ends come to the images (k, count, c, h, w), the first and last of each row."""
    ends = rows[:, [1, -2]] - rows[:, [0, -1]]
    distance = float(np.sqrt(np.square(ends.astype(float)).mean(axis=(2, 3, 4))).max())
    return (
        "The first and the last image of each row are data; those between are decoded from the great circle between their "
        f"codes, and at its ends they come back to within {number(distance)} (rms per pixel, the worst of {ends.shape[0] * 2})."
    )


def nearest(verdicts: Sequence[Verdict], budget: float) -> Verdict:
    return min(verdicts, key=lambda v: abs(math.log(v.budget / budget)))


def tie(verdict: Verdict) -> str:
    """Who ties with the best, in words."""
    others = verdict.entrants - 1 - len(verdict.memorisation)
    if verdict.ties:
        return f"{names(verdict.ties)} {'tie' if len(verdict.ties) > 1 else 'ties'} with it"
    if others <= 0:
        return "nothing else competes there"
    return f"none of the other {others} ties with it" if others > 1 else "the other one does not tie with it"


def suspicion(verdict: Verdict) -> str:
    """The remark on entrants below the floor."""
    verb = "lie" if len(verdict.memorisation) > 1 else "lies"
    return f"{names(verdict.memorisation)} {verb} below the floor by more than both their errors (memorisation?)"

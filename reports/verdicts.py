"""Who is best, and who ties with it: differences and ratios with intervals corrected for the number of comparisons.

Errors against the reference solution pair by sample: the ratio of two medians (for likelihoods the difference of two
means) has the standard deviation of a bootstrap whose resamples all entrants share. Distances between
distributions pair by groups of samples: the jackknife leaves the same ones out of all entrants. Where a cell
has no replicates, variances add, which is safe because cells with common latents are positively correlated.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from scorebench.bench import quality
from scorebench.bench.pairing import Paired, Statistic, by_group, by_sample, mean, median, unpaired
from scorebench.reference_models.errors import UsageError

from .results import Arrays, Results

PAIRED: dict[str, Statistic] = {"error_median": median, "likelihood_error": mean, "round_trip_error": median}
TIMES = {"error_median": "time_ms", "likelihood_error": "likelihood_ms"}  # an error, and the time of what has it
DISTANCES = ("fid", "fid_corrected", "kid", "sliced_wasserstein", "moments_frechet")
HEADLINE = (*PAIRED, "fid")  # the metrics of the leaderboards
RANKED = (*PAIRED, *DISTANCES)  # the metrics that decide a budget


@dataclass(frozen=True)
class Verdict:
    """The best entry of one model, measure and budget; `ties` and `memorisation` are labels, best first.

    Where every entrant lies below the floor, nobody is best and the numbers are NaN.
    """

    model: str
    metric: str
    measure: str
    field: str
    unit: str
    n: int
    budget: float
    budget_unit: str
    entrants: int
    best: str
    cell: str
    value: float
    low: float
    high: float
    floor: float
    nfe: float
    ties: tuple[str, ...]
    memorisation: tuple[str, ...]


@dataclass(frozen=True)
class Contest:
    """Who competes at a budget, best first; an entrant below the floor does not."""

    entrants: pd.DataFrame
    arrays: dict[str, Arrays]
    budget: float
    unit: str

    @cached_property
    def ranked(self) -> pd.DataFrame:
        below = below_floor(self.entrants)
        return self.entrants[~below].reset_index(drop=True) if below.any() else self.entrants

    @cached_property
    def judge(self) -> Paired:
        return paired(self.ranked, self.arrays)

    def against(self, one: int, comparisons: int) -> np.ndarray:
        """+1 where a ranked entrant wins against another (k,), −1 where it loses, 0 where they tie."""
        return self.judge.verdicts(self.ranked["value"].to_numpy(dtype=float), one, comparisons)


def best_at_each_budget(results: Results) -> list[Verdict]:
    """One verdict for every model, measure and budget at which at least one cell finished."""
    return [verdict(contest) for contest in contests(results)]


def contests(results: Results) -> Iterator[Contest]:
    """Of every model, measure and budget at which at least one cell finished."""
    for metric in RANKED:
        for model, _, field, rows in results.groups(metric):
            cells = results.frame[(results.frame["model"] == model) & (results.frame["field"] == field)]
            for budget in sorted(cells["budget"].dropna().unique()):
                entrants = competing(rows, float(budget))
                if len(entrants):
                    yield Contest(entrants, results.arrays, float(budget), "calls")


def best_at_each_time(results: Results) -> list[Verdict]:
    """One verdict on each timed error for every model and time limit, by the time pass with the largest batch."""
    verdicts = []
    for metric in TIMES:
        for _, rows in timed_errors(results, metric):
            for limit in limits(rows["ms"]):
                entrants = most_accurate(rows[rows["ms"] <= limit])
                verdicts.append(verdict(Contest(entrants, results.arrays, limit, "ms")))
    return verdicts


def timed_errors(results: Results, metric: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """(field of the times, rows with `ms`) of each model on which cells with this error were timed too."""
    timed = {model: (field, rows) for model, _, field, rows in results.principal(TIMES[metric])}
    for model, _, _, rows in results.principal(metric):
        if model in timed and len(joined := with_time(rows, timed[model][1])):
            yield timed[model][0], joined


def with_time(rows: pd.DataFrame, timed: pd.DataFrame) -> pd.DataFrame:
    """The rows that were also timed with the same options, grid and budget: `ms` between its quartiles."""
    same = ["solver", "options", "grid", "budget"]
    columns = {"value": "ms", "low": "ms_low", "high": "ms_high", "n_samples": "batch"}
    return rows.merge(timed[[*same, *columns]].rename(columns=columns), on=same)


def limits(ms: "pd.Series[float]") -> Iterator[float]:
    """Round time limits, 1-2-5, from the first that one cell meets to the first that all meet."""
    if ms.empty:
        return
    for exponent in range(-3, 9):
        for step in (1, 2, 5):
            limit = step * 10.0**exponent
            if limit >= ms.min():
                yield limit
            if limit >= ms.max():
                return


def competing(rows: pd.DataFrame, budget: float) -> pd.DataFrame:
    """Who competes: fixed steps at just this budget, an adaptive method's best tolerance within it."""
    fits = rows[rows["nfe_max"] <= budget]
    return most_accurate(fits[(fits["budget"] == budget) | fits["budget"].isna()])


def most_accurate(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each label the cell with the smallest value, best first; only finite values compete."""
    values = rows["value"].to_numpy(dtype=float)
    order = np.argsort(values, kind="stable")
    order = order[np.isfinite(values[order])]
    first = ~rows["label"].iloc[order].duplicated().to_numpy()
    best: pd.DataFrame = rows.iloc[order[first]]  # taken once: a page asks hundreds of times
    return best.reset_index(drop=True)


def below_floor(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Which cells are nearer to the data than other real data is, beyond the error of both: memorisation?"""
    below: pd.Series[bool] = rows["metric"] == "fid"
    return below & quality.below_floor(rows) if below.any() else below


def verdict(contest: Contest) -> Verdict:
    """Who is best, who ties, and who lies below the floor; UsageError when they were not measured on equally many samples."""
    entrants, ranked = contest.entrants, contest.ranked
    top = (entrants if ranked.empty else ranked).iloc[0]
    value, low, high, floor, nfe = (float(top[key]) for key in ("value", "low", "high", "floor", "nfe_mean"))
    return Verdict(
        model=str(top["model"]),
        metric=str(top["metric"]),
        measure=str(top["measure"]),
        field=str(top["field"]),
        unit=str(top["unit"] or ""),
        n=int(top["n_samples"]),
        budget=contest.budget,
        budget_unit=contest.unit,
        entrants=len(entrants),
        best="" if ranked.empty else str(top["label"]),
        cell="" if ranked.empty else str(top["cell"]),
        value=np.nan if ranked.empty else value,
        low=np.nan if ranked.empty else low,
        high=np.nan if ranked.empty else high,
        floor=floor,
        nfe=np.nan if ranked.empty else nfe,
        ties=() if ranked.empty else tuple(ranked["label"][ties(contest)]),
        memorisation=tuple(entrants["label"][below_floor(entrants)]),
    )


def ties(contest: Contest) -> np.ndarray:
    """Which ranked entrants (k,) tie with the first: the corrected interval of their difference contains 0, of their ratio 1."""
    tied = contest.against(0, len(contest.ranked) - 1) == 0
    tied[0] = False
    return np.asarray(tied)


def paired(ranked: pd.DataFrame, arrays: dict[str, Arrays]) -> Paired:
    """What the differences between entrants (k,) of one measure are judged by; UsageError unless all have the same n."""
    if ranked["n_samples"].nunique() > 1:
        sizes = ranked.drop_duplicates("n_samples")
        first, other = (f"{row['label']} (n = {row['n_samples']})" for _, row in sizes.head(2).iterrows())
        raise UsageError(f"{ranked['model'][0]}: cannot compare {first} with {other}: only equal n compares")
    metric, measure = str(ranked["metric"][0]), str(ranked["measure"][0])
    if metric in PAIRED:
        return by_sample(aligned(ranked, arrays), PAIRED[metric], ratios=PAIRED[metric] is median)
    if all(measure in arrays[cell] for cell in ranked["cell"]):
        return by_group(np.stack([arrays[cell][measure] for cell in ranked["cell"]]))
    return unpaired(((ranked["high"] - ranked["low"]) / 2).to_numpy(dtype=float))


def aligned(ranked: pd.DataFrame, arrays: dict[str, Arrays]) -> np.ndarray:
    """The absolute errors (k, n) of the entrants, whose samples are the same."""
    cells = ranked["cell"].tolist()
    for cell in cells[1:]:
        if not np.array_equal(arrays[cell]["index"], arrays[cells[0]]["index"]):
            raise UsageError(f"cells {cells[0]} and {cell} hold different samples: they do not pair")
    errors = np.abs(np.stack([arrays[cell]["error"] for cell in cells]).astype(float))
    return np.where(np.isfinite(errors), errors, np.inf)

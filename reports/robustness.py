"""Who forgives a wrong score: quality against the size of the score's error, on models that differ in nothing else."""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .axes import End, end_labels, log_values, note
from .results import Results
from .style import colour, dashes, marker
from .wording import count, names, number

ERROR = re.compile(r"[?&]score_error=([0-9.eE+-]+)")
METRICS = ("fid", "moments_frechet", "error_median")


def curves(results: Results) -> Iterator[tuple[str, str, float, pd.DataFrame]]:
    """(model without error, measure, budget, rows with `wrong`), at the largest budget: the score's error is left."""
    for metric in METRICS:
        groups: dict[tuple[str, str], list[pd.DataFrame]] = {}
        for model, measure, _, rows in results.principal(metric):
            size = ERROR.search(model)
            base = ERROR.sub("", model) if size else model
            if "score_bias" not in model:
                groups.setdefault((base, measure), []).append(rows.assign(wrong=float(size[1]) if size else 0.0))
        for (base, measure), found in groups.items():
            rows = pd.concat(found)
            budget = float(rows["budget"].max())
            rows = rows[(rows["budget"] == budget) & (rows["value"] > 0)]
            if rows["wrong"].nunique() >= 3:
                yield base, measure, budget, rows


def caption(rows: pd.DataFrame, budget: float) -> str:
    """Who is best without and with the largest error, and whom the error costs least."""
    wide = rows.pivot_table(index="label", columns="wrong", values="value", aggfunc="min").dropna()
    least, most = wide.columns.min(), wide.columns.max()
    growth = (wide[most] / wide[least]).sort_values()
    return (
        f"At {count(budget)} calls {wide[least].idxmin()} is nearest with an exact score, and {wide[most].idxmin()} with an "
        f"error of {most:g} of its size. The error costs least, a factor of {number(float(growth.iloc[0]))}, "
        f"with {growth.index[0]}, and most, {number(float(growth.iloc[-1]))}, with {growth.index[-1]}."
    )


def alt(model: str, rows: pd.DataFrame) -> str:
    labels = [str(label) for label in rows["label"].unique()]
    return f"Line chart. Quality on {model} against the relative error of its score, of {names(labels, 12)}."


def chart(model: str, measure: str, budget: float, rows: pd.DataFrame) -> Figure:
    """A line a solver over evenly spaced sizes of the error."""
    figure = Figure(figsize=(9, 4.8))
    ax = figure.subplots()
    figure.subplots_adjust(left=0.1, right=0.72, top=0.9, bottom=0.13)
    sizes = sorted(rows["wrong"].unique())
    ax.set_xlim(-0.15, len(sizes) - 0.85)
    log_values(ax, float(rows["value"].min()) / 1.3, float(rows["value"].max()) * 1.3)
    ends = []
    for label, line in rows.sort_values("wrong").groupby("label", sort=False):
        solver, places = str(line["solver"].iloc[0]), [sizes.index(size) for size in line["wrong"]]
        (drawn,) = ax.plot(places, line["value"], lw=1.5, ms=5.5, markeredgecolor="white", marker=marker(solver))
        drawn.set(color=colour(solver), linestyle=dashes(str(line["kind"].iloc[0])))
        low = np.maximum(line["low"].to_numpy(float), ax.get_ylim()[0])
        ax.fill_between(places, low, line["high"].to_numpy(float), color=colour(solver), alpha=0.1, lw=0)
        ends.append(End(str(label), solver, float(places[-1]), float(line["value"].iloc[-1]), False))
    ax.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes])
    ax.set(xlabel="error of the score, relative to its size", ylabel=f"{measure} at {count(budget)} calls")
    end_labels(ax, ends)
    note(ax, "↙ lower is better; dashed: stochastic")
    ax.set_title(f"{model}: who forgives a wrong score", pad=12)
    return figure

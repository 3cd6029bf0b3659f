"""Every figure of a report: quality against cost, likelihoods, and what the samples look like."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import attribution, captions, likelihood, robustness, strip
from .axes import FAILURE_ROWS, GAP, End, end_labels, failures, log_ticks, log_values, note, png, saved
from .results import Results
from .style import FAINT, INK, LIGHT, colour, dashes, is_peer, marker, use_style
from .verdicts import DISTANCES, TIMES, Verdict, below_floor, timed_errors
from .wording import count, number, slug

CALLS = "network calls per sample (NFE)"
QUALITY = {
    "error_median": ("error", "median error to the reference solution, rms per dimension"),
    "fid": ("fid", "Fréchet distance to the data"),
    "likelihood_error": ("likelihood", "mean absolute error of −log p, bits/dim"),
    "round_trip_error": ("round-trip", "median distance after data to noise and back, rms per dimension"),
}
TITLES = {"error_median": "median error", "likelihood_error": "likelihood error"}
CEILING = {  # where axes end: some solvers come to 1e12 with few steps
    "likelihood_error": 3.0,  # bits/dim: about what there is to know
    "round_trip_error": 2.0,  # from black to white in every pixel: nothing of the image is left
}
BANDS = 8  # strong lines up to which each has the band of its intervals
CROWD = 24  # names beside a figure; where there are more, those never best are grey and have none


@dataclass(frozen=True)
class Picture:
    """One figure: its file name, its title, what to conclude, what it shows in words; of no model where it is of all."""

    model: str
    file: str
    title: str
    caption: str
    alt: str
    figure: Figure
    explored: bool = False  # whether an interactive plot shows the same
    colours: int = 256  # of the PNG's palette, 0 for all

    @cached_property
    def png(self) -> bytes:
        return png(self.figure, self.colours)

    def printed(self) -> dict[str, bytes]:
        """The figure for print: as SVG, and as PNG at PRINTED dots an inch."""
        stem = self.file.removesuffix(".png")
        return {f"{stem}.svg": saved(self.figure, "svg"), f"{stem}.png": saved(self.figure, "png")}


def all_pictures(results: Results, calls: Sequence[Verdict], times: Sequence[Verdict]) -> list[Picture]:
    """The figures of every model for which the store has the cells."""
    use_style()
    pictures = []
    for metric in QUALITY:
        for model, measure, field, rows in results.principal(metric):
            verdicts = [v for v in calls if (v.model, v.measure, v.field) == (model, measure, field)]
            pictures.append(against_calls(results, rows, verdicts))
    for metric in TIMES:
        for field, joined in timed_errors(results, metric):
            model = str(joined["model"].iloc[0])
            pictures.append(against_time(joined, field, [v for v in times if (v.model, v.metric) == (model, metric)]))
    pictures += strips(results)
    pictures += interpolations(results)
    pictures += attributions(results)
    pictures += forgiveness(results)
    return pictures


def forgiveness(results: Results) -> Iterator[Picture]:
    """Distances against the error of the score, where a store has models with several."""
    for study in robustness.studies(results):
        yield Picture(
            study.model,
            f"robustness-{slug(study.measure)}-{slug(study.model)}.png",
            f"{study.model}: who forgives a wrong score",
            robustness.caption(study),
            robustness.alt(study),
            robustness.chart(study),
        )


def attributions(results: Results) -> Iterator[Picture]:
    """Which choice makes the error, of every model whose choices are crossed."""
    for several in attribution.by_model(list(attribution.crossings(results))):
        first = several[0]
        yield Picture(
            first.model,
            f"{slug(first.suite)}-{slug(first.model)}.png",
            f"{first.model}: which choice makes the error",
            attribution.caption(several),
            f"Dot chart. Shares of the variance of log errors of {first.model} by choices and their interactions, and "
            f"the effect of each level, at {', '.join(count(c.budget) for c in several)} calls.",
            attribution.chart(several),
        )


def interpolations(results: Results) -> Iterator[Picture]:
    """Of image models: between two images, decoded from the great circle between their codes."""
    for model, rows in results.interpolations.items():
        yield Picture(
            model,
            f"interpolation-{slug(model)}.png",
            f"{model}: from one image to another",
            captions.of_interpolation(rows),
            f"{len(rows)} rows of {rows.shape[1]} images of {model}: the first and the last are data, those between are decoded.",
            strip.draw_between(rows),
            colours=256 if rows.shape[2] == 1 else 0,
        )


def strips(results: Results) -> Iterator[Picture]:
    """The strip of every image model."""
    for model, arrays in results.strips.items():
        if (shown := strip.blocks(results, model)) is not None:
            yield Picture(
                model,
                f"strip-{slug(model)}.png",
                f"{model}: samples from eight latents",
                captions.of_strip(results, model, shown),
                f"Images of {model}: one row a solver, blocks of eight for {shown.budgets_in_words()}, "
                "the reference solution above and real data below.",
                strip.draw(shown, arrays),
                colours=256 if shown.grey() else 0,
            )


def against_calls(results: Results, rows: pd.DataFrame, verdicts: Sequence[Verdict]) -> Picture:
    """One measure of one model against network calls."""
    model, metric, measure = (str(rows[key].iloc[0]) for key in ("model", "metric", "measure"))
    stem, words = QUALITY[metric]
    features = slug(measure.removeprefix(metric))
    if features:
        words += f", {measure.removeprefix(metric)[1:-1]} features"
    title = f"{model}: {words.split(',')[0]} against network calls"
    cells = results.frame.drop_duplicates("cell")
    same = (cells["model"] == model) & (cells["field"] == rows["field"].iloc[0])
    same &= cells["pass"] == rows["pass"].iloc[0]
    if metric == "error_median":
        same &= cells["kind"] == "ode"
    failed = cells[same & (cells["status"] == "failed")]
    image = chart(rows, "nfe_mean", (title, CALLS, words), leaders(rows, "nfe_mean", verdicts), failed)
    name = "-".join(part for part in (stem, features, "nfe", slug(model)) if part)
    caption = captions.of_calls(verdicts, metric)
    if metric == "likelihood_error":
        caption += " " + likelihood.sentence(rows, "nfe_mean")
    return Picture(model, f"{name}.png", title, caption, alt(rows, title), image, explored=True)


def against_time(joined: pd.DataFrame, field: str, verdicts: Sequence[Verdict]) -> Picture:
    """An error of one model against milliseconds."""
    model, metric = str(joined["model"].iloc[0]), str(joined["metric"].iloc[0])
    title = f"{model}: {TITLES[metric]} against time"
    axis = f"milliseconds for a batch of {joined['batch'].iloc[0]}, median"
    image = chart(joined, "ms", (title, axis, QUALITY[metric][1]), leaders(joined, "ms", verdicts), joined.iloc[:0])
    caption = captions.of_time(verdicts, field)
    if metric == "likelihood_error":
        caption += " " + likelihood.sentence(joined, "ms")
    name = "error" if metric == "error_median" else QUALITY[metric][0]
    return Picture(model, f"{name}-ms-{slug(model)}.png", title, caption, alt(joined, title), image, explored=True)


def leaders(rows: pd.DataFrame, x: str, verdicts: Sequence[Verdict]) -> set[str]:
    """Who is best, or ties with the best, at any budget: drawn strong; in a crowd who is best, or nothing cheaper equals."""
    if rows["label"].nunique() <= CROWD:
        return {label for v in verdicts for label in (v.best, *v.ties)}
    return {v.best for v in verdicts} | set(likelihood.frontier(rows, x)["label"])


def chart(rows: pd.DataFrame, x: str, words: tuple[str, str, str], strong: set[str], failed: pd.DataFrame) -> Figure:
    """Lines of `value` against x, one per label, on log axes; words: the title and the names of both axes."""
    figure = Figure(figsize=(9, 5.4))
    ax = figure.subplots()
    plain = background(rows, strong)
    named = rows[~rows["label"].isin(plain)]
    room = max(named["label"].str.len().max(), 12) * 0.0088 + 0.055  # for the names on the right
    figure.subplots_adjust(left=0.105, right=1 - min(room, 0.4), top=0.91, bottom=0.11)
    scale(ax, rows, x, failed, CEILING.get(str(rows["metric"].iloc[0]), np.inf))
    ends = []
    for label, line in rows.sort_values([x, "value"]).groupby("label", sort=False):
        if label in plain:
            ax.plot(line[x], line["value"], color=LIGHT, lw=0.9, zorder=0.9)
            continue
        draw_line(ax, line, x, label in strong, len(strong) <= BANDS)
        if len(last := line[line["value"] > 0].tail(1)):
            spot = (float(last[x].iloc[0]), float(last["value"].iloc[0]))
            ends.append(End(str(label), str(last["solver"].iloc[0]), *spot, label in strong))
    mark_front(ax, rows, x)
    mark_floor(ax, rows, x)
    across = failed.assign(budget=failed["budget"].fillna(ax.get_xlim()[1])).groupby("label", sort=False)
    crosses = {str(label): (str(f["solver"].iloc[0]), sorted(f["budget"].tolist())) for label, f in across}
    failures(ax, crosses)
    end_labels(ax, ends)
    stochastic = "; dashed: stochastic" if (rows["kind"] == "sde").any() else ""
    others = f"; grey: {len(plain)} others" if plain else ""
    peers = "; red: the field's practice" if named["solver"].map(is_peer).any() else ""
    best = "best somewhere" if plain else "best or tied somewhere"
    note(ax, f"↙ lower left is better; grey band: Pareto front; bold: {best}{stochastic}{peers}{others}")
    ax.set_title(words[0], pad=12)
    ax.set(xlabel=words[1], ylabel=words[2])
    return figure


def background(rows: pd.DataFrame, strong: set[str]) -> set[str]:
    """Whom a crowded chart draws in grey: who is never best nor tied, and is no peer."""
    found = rows.drop_duplicates("label")
    if len(found) <= CROWD:
        return set()
    return set(found["label"][~found["label"].isin(strong) & ~found["solver"].map(is_peer)])


def mark_front(ax: Axes, rows: pd.DataFrame, x: str) -> None:
    """What nothing cheaper equals, and the band of its intervals: what reaches into it may tie with the front."""
    best = likelihood.frontier(rows[rows["value"] > 0], x)
    if best.empty:
        return
    across = [*best[x], ax.get_xlim()[1]]
    low, value, high = (np.append(best[end], best[end].tail(1)) for end in ("low", "value", "high"))
    low = np.maximum(np.where(np.isfinite(low), low, value), ax.get_ylim()[0])
    ax.fill_between(
        across, low, np.where(np.isfinite(high), high, value), step="post", color=INK, alpha=0.1, lw=0, zorder=0.5
    )
    ax.step(across, value, where="post", color=INK, lw=3.5, alpha=0.18, zorder=0.5)


def mark_floor(ax: Axes, rows: pd.DataFrame, x: str) -> None:
    """The real-against-real level, and the cells below it by more than their interval."""
    for level in real_levels(rows):
        ax.axhline(level, color=FAINT, lw=1.2, ls=(0, (1, 1.5)))
        text = ax.text(0.012, level, f"floor {number(level)}: real against real", color=FAINT, fontsize=8.5)
        text.set(transform=ax.get_yaxis_transform(), va="bottom")
    for _, point in rows[below_floor(rows)].iterrows():
        spot, tint = (float(point[x]), float(point["value"])), colour(str(point["solver"]))
        text = ax.annotate("memorisation?", spot, (0, -14), textcoords="offset points", color=tint)
        text.set(ha="center", fontsize=8.5)


def real_levels(rows: pd.DataFrame) -> list[float]:
    """What real data would have, of a distance between distributions; an error's floor is the reference's uncertainty."""
    return sorted(rows["floor"][rows["metric"].isin(DISTANCES)].dropna().unique())


def scale(ax: Axes, rows: pd.DataFrame, x: str, failed: pd.DataFrame, ceiling: float) -> None:
    """Limits and ticks with room for the note below and for failures above; what lies above the ceiling is cut off."""
    budgets = sorted(float(b) for b in rows["budget"].dropna().unique())
    across = [*rows[x], *failed["budget"].dropna()]
    low, high = min(across) / 1.12, max(across) * 1.12
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    log_ticks(ax, low, high, budgets if x == "nfe_mean" else ())
    marks = [min(value, ceiling) for value in [*rows["value"], *real_levels(rows)] if value > 0]
    if marks:
        span = max(max(marks) / min(marks), 4)
        above = 0.05 + GAP * min(failed["label"].nunique(), FAILURE_ROWS)
        log_values(ax, min(marks) / span**0.12, max(marks) * span ** (above / (1 - above)))


def draw_line(ax: Axes, line: pd.DataFrame, x: str, strong: bool, bands: bool) -> None:
    """One solver: its line, its markers, and with `bands` what lies between the ends of its intervals."""
    solver, kind = str(line["solver"].iloc[0]), str(line["kind"].iloc[0])
    tint = colour(solver)
    ax.plot(
        line[x],
        line["value"],
        color=tint,
        marker=marker(solver),
        markersize=10 if is_peer(solver) else 7 if strong else 5.5,
        markeredgecolor="white",
        linestyle=":" if is_peer(solver) else dashes(kind),
        linewidth=2.2 if strong else 1.2,
        alpha=1.0 if strong else 0.7,
    )
    if bands:
        low = np.maximum(line["low"].to_numpy(float), ax.get_ylim()[0])
        ax.fill_between(line[x], low, line["high"].to_numpy(float), color=tint, alpha=0.13, lw=0)
    if x == "ms":
        ax.hlines(line["value"], line["ms_low"], line["ms_high"], color=tint, lw=1, alpha=0.8)


def alt(rows: pd.DataFrame, title: str) -> str:
    """The chart in words, for who cannot see it."""
    ends = rows.sort_values("value").drop_duplicates("label")
    listed = ", ".join(f"{r['label']} {number(float(r['value']))}" for _, r in ends.iterrows())
    return f"Line chart. {title}. Smallest value of each solver: {listed}."

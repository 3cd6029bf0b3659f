"""What all figures share: readable log ticks, labels at the ends of lines, failures on the edge."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from .style import DPI, FAINT, PRINTED, colour, marker
from .wording import number

CALLS = (5, 10, 20, 35, 50, 100, 200, 500, 1000, 2000, 5000, 1, 2, 3, 8, 15, 75, 150, 350)
GAP = 0.043  # of the axes' height, between two names
FAILURE_ROWS = 6


def log_ticks(ax: Axes, low: float, high: float, preferred: Sequence[float] = ()) -> None:
    """Ticks of a logarithmic x axis: the preferred first, then round ones where there is room."""
    room = 0.045 * math.log(high / low)
    ticks: list[float] = []
    for tick in (*preferred, *CALLS) if preferred else _round(low, high):
        if low <= tick <= high and all(abs(math.log(tick / other)) > room for other in ticks):
            ticks.append(tick)
    ax.xaxis.set_major_locator(ticker.FixedLocator(sorted(ticks)))
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_locator(ticker.NullLocator())


def _round(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [step * 10.0**exponent for step in (1, 2, 5) for exponent in range(first, last + 1)]


def log_values(ax: Axes, low: float, high: float) -> None:
    """A logarithmic y axis over [low, high] with plain numbers: 1-2-5 where it spans little."""
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    subs = (1.0, 2.0, 5.0) if high / low < 1500 else (1.0,)
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=subs, numticks=20))
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _plain(value)))
    ax.yaxis.set_minor_locator(ticker.NullLocator())


def _plain(value: float) -> str:
    return f"{value:g}" if 1e-4 <= value < 1e5 else number(value).replace(".00e", "e")


@dataclass(frozen=True)
class End:
    """Where a line ends, and how its name is drawn."""

    label: str
    solver: str
    x: float
    y: float
    strong: bool


def end_labels(ax: Axes, ends: Sequence[End]) -> None:
    """Marker and name of each line to the right of the axes, joined to the end of the line."""
    if not ends:
        return
    places = ax.transAxes.inverted().transform(ax.transData.transform([(end.x, end.y) for end in ends]))
    size = 9 / max(len(ends) * GAP, 1)
    for end, place in zip(ends, spread(places[:, 1], GAP), strict=True):
        tint = colour(end.solver)
        leader = {"arrowstyle": "-", "color": tint, "lw": 0.6, "alpha": 0.45, "shrinkA": 3, "shrinkB": 4}
        spot = ((end.x, end.y), (1.035, place))
        ax.annotate("", *spot, textcoords="axes fraction", arrowprops=leader, annotation_clip=False)
        ax.plot([1.035], [place], marker(end.solver), ms=5, color=tint, transform=ax.transAxes, clip_on=False)
        weight = "bold" if end.strong else "normal"
        text = ax.text(1.05, place, end.label, color=tint, fontsize=size, fontweight=weight, va="center")
        text.set_transform(ax.transAxes)


def spread(targets: np.ndarray, gap: float) -> np.ndarray:
    """The places in [0, 1] nearest to the targets (k,) that keep their order and stay `gap` apart.

    Least squares by pooling adjacent violators; the gap shrinks when k of them do not fit.
    """
    k = len(targets)
    gap = min(gap, 1 / max(k - 1, 1))
    order = np.argsort(targets, kind="stable")
    pools: list[tuple[float, int]] = []  # mean and size, in increasing order
    for place in targets[order] - gap * np.arange(k):
        mean, size = float(place), 1
        while pools and pools[-1][0] > mean:
            other, many = pools.pop()
            mean, size = (mean * size + other * many) / (size + many), size + many
        pools.append((mean, size))
    level = np.concatenate([np.full(size, mean) for mean, size in pools])
    places = np.empty(k)
    places[order] = np.clip(level, 0, 1 - gap * (k - 1)) + gap * np.arange(k)
    return places


def failures(ax: Axes, failed: Mapping[str, tuple[str, Sequence[float]]]) -> None:
    """Crosses on the top edge where each label (its solver, the x) failed: one named row a label."""
    edge = ax.get_xaxis_transform()
    for row, (label, (solver, across)) in enumerate(failed.items()):
        tint, place = colour(solver), 1 - GAP * min(row, FAILURE_ROWS - 1)
        ax.plot(across, [place] * len(across), "x", transform=edge, clip_on=False, ms=7, mew=2, color=tint)
        if row >= FAILURE_ROWS:
            continue
        more = len(failed) - FAILURE_ROWS
        words = f"{label} failed" + (f", and {more} more" if row == FAILURE_ROWS - 1 and more > 0 else "")
        right = ax.transLimits.transform(ax.transScale.transform((max(across), 1)))[0] < 0.7
        text = ax.text(max(across) if right else min(across), place, f"   {words}   ", transform=edge)
        text.set(color=tint, fontsize=8.5, va="center", ha="left" if right else "right")


def note(ax: Axes, text: str) -> None:
    """A grey line in the lower left corner, inside the axes."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.5}
    ax.text(0.012, 0.02, text, transform=ax.transAxes, color=FAINT, fontsize=8.5, style="italic", va="bottom", bbox=box)


def png(figure: Figure, colours: int = 256) -> bytes:
    """The figure as a PNG file of a quarter of the usual size, by a palette; colours=0 keeps every colour."""
    raw, file = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="rgba", dpi=DPI)
    width, height = (int(size) for size in figure.get_size_inches() * DPI)
    image = Image.frombytes("RGBA", (width, height), raw.getvalue()).convert("RGB")
    if colours:
        image = image.quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(file, format="png")
    return file.getvalue()


def saved(figure: Figure, form: str) -> bytes:
    """The figure as a file to print, the same at every run."""
    file = io.BytesIO()
    figure.savefig(file, format=form, dpi=PRINTED, metadata={"Date": None} if form == "svg" else None)
    return file.getvalue()

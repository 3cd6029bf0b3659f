"""The sample strip: the same eight latents for the best solvers at each budget, beside reference and real data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .results import Arrays, Results
from .style import FAINT, INK, colour
from .verdicts import competing
from .wording import count, names

WANTED = (5, 10, 20)
SHOWN, SOLVERS, GAP = 8, 8, 1  # images in a block, rows between reference and data, white pixels between images


@dataclass(frozen=True)
class Blocks:
    """What a strip shows: a row per label, a block per budget; images (8, c, h, w), or why there are none.

    So many `others` have images, too, and no row.
    """

    budgets: tuple[float, ...]
    rows: dict[str, tuple[str, list[np.ndarray | str]]]
    others: int

    def grey(self) -> bool:
        entries = [entry for _, row in self.rows.values() for entry in row]
        return all(isinstance(entry, str) or entry.shape[1] == 1 for entry in entries)

    def budgets_in_words(self) -> str:
        return names([f"{count(budget)} calls" for budget in self.budgets])


def blocks(results: Results, model: str) -> Blocks | None:
    """What to show of a model; None where its samples are no images or no cell finished."""
    cells = results.frame[(results.frame["model"] == model) & (results.frame["pass"] == "sample")]
    cells = cells.drop_duplicates("cell")
    largest = cells[cells["n_samples"] == cells["n_samples"].max()]
    if largest.empty:
        return None
    cells = largest[largest["field"] == largest["field"].value_counts().index[0]]
    pictures = {cell: a["strip"] for cell in cells["cell"] if "strip" in (a := results.arrays[cell])}
    present = sorted(cells[cells["cell"].isin(list(pictures))]["budget"].dropna().unique())
    if not present or any(not is_image(images) for images in pictures.values()):
        return None
    budgets = sorted({min(present, key=lambda b: abs(np.log(b / wanted))) for wanted in WANTED})
    rows = {}
    for label, group in cells.groupby("label", sort=False):
        shown = [image_or_reason(group, float(budget), pictures) for budget in budgets]
        if any(isinstance(entry, np.ndarray) for entry in shown):
            rows[str(label)] = (str(group["solver"].iloc[0]), shown)
    best = sorted(rows, key=places(results, model, budgets))[:SOLVERS]
    return Blocks(tuple(float(b) for b in budgets), {label: rows[label] for label in best}, len(rows) - len(best))


def places(results: Results, model: str, budgets: Sequence[float]) -> Callable[[str], int]:
    """The sum of a label's places at the budgets, by median error, or where no error was measured by FID."""
    for metric in ("error_median", "fid"):
        for name, _, _, rows in results.principal(metric):
            if name == model:
                ranked = [competing(rows, budget)["label"].tolist() for budget in budgets]
                return lambda label: sum(r.index(label) if label in r else len(rows) for r in ranked)
    return lambda label: 0


def is_image(samples: np.ndarray) -> bool:
    """Whether samples (8, *shape) are images of one or three channels."""
    return samples.ndim == 4 and samples.shape[1] in (1, 3)


def image_or_reason(group: pd.DataFrame, budget: float, pictures: Arrays) -> np.ndarray | str:
    """The samples of one solver at a budget; of an adaptive one, at its costliest tolerance that fits."""
    exact = group[group["budget"] == budget]
    if len(exact):
        cell, status, message = (str(exact[key].iloc[0]) for key in ("cell", "status", "message"))
        return pictures[cell] if cell in pictures else (message if status == "skipped" else status)
    fits = group[group["budget"].isna() & (group["nfe_max"] <= budget)].sort_values("nfe_max")
    if len(fits) and str(fits["cell"].iloc[-1]) in pictures:
        return pictures[str(fits["cell"].iloc[-1])]
    least = group["nfe_max"].min()
    return "" if np.isnan(least) else f"needs {count(least)}"


def draw(shown: Blocks, arrays: Arrays) -> Figure:
    """The strip: rows of solvers between the reference and real data, blocks of budgets."""
    lines: list[tuple[str, str, list[np.ndarray | str]]] = []
    width = len(shown.budgets)
    if "reference" in arrays:
        lines.append(("reference", INK, [arrays["reference"]] * width))
    lines += [(label, colour(solver), entries) for label, (solver, entries) in shown.rows.items()]
    if "real" in arrays:
        lines.append(("real data", INK, [arrays["real"]] * width))
    image = 0.36 if width > 2 else 0.45  # inches
    left = 0.3 + 0.085 * max(len(name) for name, _, _ in lines)
    right, top, bottom, between = 0.1, 0.35, 0.1, 0.2
    size = (left + right + width * SHOWN * image + (width - 1) * between, top + bottom + len(lines) * image)
    figure = Figure(figsize=size)
    for j, budget in enumerate(shown.budgets):
        x = left + j * (SHOWN * image + between)
        box = (x / size[0], bottom / size[1], SHOWN * image / size[0], len(lines) * image / size[1])
        ax = figure.add_axes(box)
        block(ax, [entries[j] for _, _, entries in lines])
        ax.set_title(f"{count(budget)} calls", pad=6)
        if j == 0:
            pitch = ax.get_ylim()[0] / len(lines)
            ax.set_yticks([pitch * (i + 0.5) for i in range(len(lines))], [name for name, _, _ in lines])
            for tick, (_, tint, _) in zip(ax.get_yticklabels(), lines, strict=True):
                tick.set_color(tint)
    return figure


def draw_between(rows: np.ndarray) -> Figure:
    """Rows of images (k, count, c, h, w): data at both ends, apart from what is decoded between."""
    k, count, _, height, width = rows.shape
    figure = Figure(figsize=(0.62 * count, 0.62 * k + 0.3))
    ax = figure.add_axes((0.01, 0.01, 0.98, 0.62 * k / (0.62 * k + 0.3) - 0.01))
    space = width // 2  # between data and what is decoded
    mosaic = np.ones((k * (height + GAP), count * (width + GAP) + 2 * space, 3))
    for i, row in enumerate(rows):
        for j, image in enumerate(np.nan_to_num(row, nan=1.0)):
            top, left = i * (height + GAP), j * (width + GAP) + space * ((j > 0) + (j == count - 1))
            pixels = np.clip((image + 1) / 2, 0, 1).transpose(1, 2, 0)
            mosaic[top : top + height, left : left + width] = np.broadcast_to(pixels, (height, width, 3))
    ax.imshow(mosaic, interpolation="nearest", aspect="auto", extent=(0, mosaic.shape[1], mosaic.shape[0], 0))
    for place, words in (
        (0.5 * width, "image"),
        (0.5 * mosaic.shape[1], "decoded"),
        (mosaic.shape[1] - 0.5 * width, "image"),
    ):
        ax.text(place, -2, words, ha="center", va="bottom", fontsize=9, color=INK)
    ax.axis("off")
    return figure


def block(ax: Axes, entries: list[np.ndarray | str]) -> None:
    """One block: a mosaic with a row per entry; where there are no images, the reason."""
    like = next(entry for entry in entries if isinstance(entry, np.ndarray))
    height, width = like.shape[2:]
    mosaic = np.ones((len(entries) * (height + GAP), SHOWN * (width + GAP), 3))
    for i, entry in enumerate(entries):
        top = i * (height + GAP)
        if isinstance(entry, str):
            text = ax.text(SHOWN * (width + GAP) / 2, top + height / 2, entry, color=FAINT, fontsize=8.5)
            text.set(ha="center", va="center")
            continue
        for k, sample in enumerate(np.nan_to_num(entry[:SHOWN], nan=1.0)):
            left = k * (width + GAP)
            pixels = np.clip((sample + 1) / 2, 0, 1).transpose(1, 2, 0)
            mosaic[top : top + height, left : left + width] = np.broadcast_to(pixels, (height, width, 3))
    extent = (0, mosaic.shape[1], mosaic.shape[0], 0)
    ax.imshow(mosaic, interpolation="nearest", aspect="auto", extent=extent)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)

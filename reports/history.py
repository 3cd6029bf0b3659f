"""How the benchmarks moved over commits: asv's results as a chart and a table, with the steps that its detection finds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import isfinite, log
from pathlib import Path

from matplotlib.figure import Figure

from .axes import note
from .style import COLOURS, INK, LIGHT, MARKERS, use_style
from .wording import names, number

FOLDER = Path(__file__).resolve().parent.parent / "results/asv"
SHOWN, FEWEST = 8, 4  # lines with a name; commits from which on steps are looked for
LARGE = 1.05  # a change worth a row


@dataclass(frozen=True)
class Series:
    """One benchmark with one set of parameters over the commits that measured it, oldest first."""

    name: str
    parameters: str
    commits: tuple[str, ...]
    values: tuple[float, ...]

    @property
    def label(self) -> str:
        return f"{self.name} ({self.parameters})" if self.parameters else self.name

    @property
    def change(self) -> float:
        """The last value over the first."""
        return self.values[-1] / self.values[0]

    def steps(self) -> list[tuple[str, float]]:
        """The commits at which the value stepped by more than LARGE, and the factor; none without asv, or with few commits."""
        try:
            from asv.step_detect import detect_steps  # type: ignore[import-untyped]
        except ImportError:
            return []
        if len(self.values) < FEWEST:
            return []
        parts = detect_steps(list(self.values))
        found = [(self.commits[after[0]], after[2] / before[2]) for before, after in pairwise(parts)]
        return [(commit, factor) for commit, factor in found if not 1 / LARGE <= factor <= LARGE]


def read(folder: Path = FOLDER) -> list[Series]:
    """Every series of the machine with most commits, largest change first; none where there are not two commits."""
    machines = [sorted(place.glob("*-*.json")) for place in sorted(folder.glob("*")) if place.is_dir()]
    runs = [json.loads(path.read_text()) for path in max(machines, key=len, default=[])]
    found: dict[tuple[str, str], dict[str, float]] = {}
    for run in sorted(runs, key=lambda run: int(run["date"])):
        for name, result in run["results"].items():
            parameters = list(product(*result[1]))
            values = result[0] or [None] * len(parameters)  # nothing of one that failed
            for value, chosen in zip(values, parameters, strict=True):
                if value is not None and isfinite(value) and value > 0:
                    words = ", ".join(part.strip("'") for part in chosen)
                    found.setdefault((name, words), {})[run["commit_hash"][:8]] = float(value)
    series = [Series(*key, tuple(at), tuple(at.values())) for key, at in found.items() if len(at) > 1]
    return sorted(series, key=lambda s: (-abs(log(s.change)), s.label))


def table(series: Sequence[Series]) -> tuple[list[str], list[list[str]]]:
    """A row for each series that changed by more than LARGE, or stepped."""
    rows = []
    for s in series:
        steps = s.steps()
        if steps or not 1 / LARGE <= s.change <= LARGE:
            told = "; ".join(f"× {number(factor)} at {commit}" for commit, factor in steps) or "–"
            rows.append(
                [s.name, s.parameters, *map(number, (s.values[0], s.values[-1])), f"× {number(s.change)}", told]
            )
    return ["benchmark", "parameters", "first", "last", "change", "steps"], rows


def caption(series: Sequence[Series]) -> str:
    """How many became slower and faster, and which most."""
    slower, faster = ([s for s in series if s.change > LARGE], [s for s in series if s.change < 1 / LARGE])
    said = [
        f"Of {len(series)} series {len(slower)} rose and {len(faster)} fell by more than 5 % from the first to the last commit."
    ]
    if slower:
        said.append(f"Most rose {names([f'{s.label} (× {number(s.change)})' for s in slower], 2)}.")
    return " ".join(said)


def chart(series: Sequence[Series]) -> Figure:
    """Every series over its first value, by commit; those that changed most have a name, steps a ring."""
    use_style()
    commits = list(dict.fromkeys(commit for s in series for commit in s.commits))
    figure = Figure(figsize=(9, 4.2 + 0.22 * min(len(series), SHOWN)))
    ax = figure.subplots()
    for s in series[SHOWN:]:
        ax.plot(
            [commits.index(c) for c in s.commits], [v / s.values[0] for v in s.values], color=LIGHT, lw=0.9, zorder=0.9
        )
    for place, s in enumerate(series[:SHOWN]):
        tint, at = COLOURS[place % len(COLOURS)], [commits.index(c) for c in s.commits]
        ax.plot(
            at,
            [v / s.values[0] for v in s.values],
            MARKERS[place % len(MARKERS)] + "-",
            color=tint,
            ms=4.5,
            label=s.label,
        )
        for commit, _ in s.steps():
            height = s.values[s.commits.index(commit)] / s.values[0]
            ax.plot([commits.index(commit)], [height], "o", ms=13, mfc="none", mec=tint, mew=1.5)
    ax.axhline(1, color=INK, lw=0.8)
    ax.margins(y=0.15)  # room for the note
    ax.set_xticks(range(len(commits)), commits, rotation=40, ha="right", fontsize=8)
    ax.set_ylim(bottom=0)  # where there is room for the note
    ax.set_ylabel("value over that of the first commit")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.22), frameon=False, fontsize=8)
    note(ax, "lower is better; rings: steps; grey: the others")
    ax.set_title("Benchmarks over commits", pad=12)
    figure.tight_layout()
    return figure

"""What scorebench costs beside other libraries, as `make timings` measured it: a figure of three parts."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .axes import log_ticks, log_values, note
from .style import COLOURS, FAINT, INK, MARKERS, use_style
from .wording import names, number

FILE = Path(__file__).resolve().parent.parent / "results/peer_timings.csv"
PICTURE = "timings.png"
OURS = "scorebench"
LIBRARIES = (OURS, "diffusers", "k-diffusion", "torchsde", "torchdiffeq", "torchode", "scipy")
TINTS = [*COLOURS[:6], COLOURS[7]]  # the one between them is too near to ours
ALT = (
    "Three charts. The CPU time that each library's loop adds to a step, by algorithm; bytes a second that an update of a "
    "large state moves; error against network calls of adaptive integration."
)
READ = "median low high ratio".split()


def read(file: Path = FILE) -> pd.DataFrame:
    """The rows that are shown; none without the file."""
    if not file.is_file():
        return pd.DataFrame(columns=["part"])
    rows = pd.read_csv(file, keep_default_na=False, dtype=str).astype(dict.fromkeys(READ, float))
    shown = {"overhead a step": "overhead", "moved": "update", "mean evaluations": "adaptive"}
    rows = rows.assign(part=rows["quantity"].map(shown))
    return rows[rows["part"].notna() & ~rows["case"].str.startswith("one latent")]


def look(contender: str) -> tuple[str, str]:
    """Colour and marker of a library; grey for what is none."""
    if contender not in LIBRARIES:
        return FAINT, "o"
    place = LIBRARIES.index(contender)
    return TINTS[place], MARKERS[place]


def dots(ax: Axes, rows: pd.DataFrame, labels: list[str], of: str) -> None:
    """A row for each label in the column `of`: each contender's median over its quartiles, the first label on top."""
    for row in rows.to_dict("records"):
        tint, mark = look(row["contender"])
        height = -labels.index(row[of])
        ax.plot([row["low"], row["high"]], [height, height], color=tint, lw=2, alpha=0.4, solid_capstyle="butt")
        ax.plot([row["median"]], [height], mark, color=tint, ms=6.5)
    ax.set_yticks([-place for place in range(len(labels))], labels)
    ax.set_ylim(0.6 - len(labels), 0.6)
    ax.set_xscale("log")
    low, high = rows["low"].min() / 1.15, rows["high"].max() * 1.15
    ax.set_xlim(low, high)
    log_ticks(ax, low, high)


def overhead(ax: Axes, rows: pd.DataFrame) -> None:
    dots(ax, rows, list(dict.fromkeys(rows["case"])), "case")
    ax.set_title("What a loop adds to its network calls, 16 states of 8×8")
    ax.set_xlabel("CPU time a step [µs]; lower is better; bars: quartiles")


def update(ax: Axes, rows: pd.DataFrame) -> None:
    dots(ax, rows, list(rows.sort_values("median", ascending=False)["contender"]), "contender")
    ax.set_title(f"The update of DPM-Solver++(2M), a state of {rows['case'].iloc[0]}")
    ax.set_xlabel("bytes moved [GB/s of CPU time]; higher is better; bars: quartiles")


def adaptive(ax: Axes, rows: pd.DataFrame) -> None:
    curves = {str(row["contender"]): ladder(row["note"]) for row in rows.to_dict("records")}
    for name, (calls, error) in curves.items():
        tint, mark = look(name)
        wide = 2 if name == OURS else 1  # ours is seen below one that it equals
        ax.plot(calls, error, mark + "-", color=tint, lw=1.4 * wide, ms=3 + 3 * wide, alpha=1 / wide**0.7)
    every = np.concatenate([np.stack(curve) for curve in curves.values()], 1)
    low, high = every[0].min() / 1.05, every[0].max() * 1.05
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    log_ticks(ax, low, high, preferred=(40, 60, 80, 120))
    log_values(ax, every[1].min() / 1.5, every[1].max() * 1.5)
    ax.axhline(target(rows), color=INK, lw=0.8, ls=":")
    ax.set_title("Adaptive Dormand–Prince 5(4), each dot a tolerance")
    ax.set_xlabel("mean network calls of a sample; lower left is better")
    ax.set_ylabel("median relative error")
    note(ax, "dotted: the error at which calls are compared")


def ladder(told: str) -> tuple[np.ndarray, np.ndarray]:
    """Calls (k,) and errors (k,) of "44.4: 9.2e-03, 47.8: …"."""
    pairs = np.array([[float(part) for part in pair.split(": ")] for pair in told.split(", ")])
    return pairs[:, 0], pairs[:, 1]


def target(rows: pd.DataFrame) -> float:
    return float(str(rows["case"].iloc[0]).removeprefix("error "))


PARTS = {
    "overhead": (overhead, 0.34),
    "update": (update, 0.34),
    "adaptive": (adaptive, 0.8),
}  # inches a contender or case


def chart(rows: pd.DataFrame) -> Figure:
    """The parts that were measured, one above another, with one key."""
    use_style()
    parts = {name: part for name in PARTS if len(part := rows[rows["part"] == name])}
    each = {"overhead": "case", "update": "contender", "adaptive": "contender"}
    heights = [1.1 + PARTS[name][1] * part[each[name]].nunique() for name, part in parts.items()]
    figure = Figure(figsize=(9, 0.5 + sum(heights)))
    axes = figure.subplots(len(parts), 1, height_ratios=heights, squeeze=False)[:, 0]
    for ax, (name, part) in zip(axes, parts.items(), strict=True):
        PARTS[name][0](ax, part)
    keys = [library for library in LIBRARIES if library in set(rows["contender"])]
    for library in keys:
        axes[0].plot([], [], look(library)[1], color=look(library)[0], ms=6.5, label=library)
    figure.legend(loc="upper center", ncols=len(keys), frameon=False, fontsize=9, columnspacing=1.2, handletextpad=0.1)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.4 / figure.get_figheight()), h_pad=1.6)
    return figure


def caption(rows: pd.DataFrame) -> str:
    """What to conclude of each part, and on which machine."""
    said, parts = [], {name: part for name, part in rows.groupby("part")}
    if "overhead" in parts:
        others = parts["overhead"][parts["overhead"]["contender"] != OURS]
        low, high = others["ratio"].min(), others["ratio"].max()
        said.append(f"A step of another library's loop costs {number(low)} to {number(high)} times ours.")
    if "update" in parts:
        rate = parts["update"].set_index("contender")["median"]
        share = {name: rate[OURS] / rate[name] for name in ("plain copy", "plain expression")}
        said.append(
            f"The update moves {100 * share['plain copy']:.0f} % of the bytes of a plain copy, "
            f"{number(share['plain expression'])} times those of its formula as one types it."
        )
    if "adaptive" in parts:
        calls = [f"{row.contender} {row.median:.1f}" for row in parts["adaptive"].itertuples()]
        said.append(f"Network calls to an error of {target(parts['adaptive']):g}: {names(calls)}.")
    where = dict.fromkeys(rows["machine"] + ", torch " + rows["torch"])
    return " ".join([*said, f"Measured by make timings on {names(list(where))}."])

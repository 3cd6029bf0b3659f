"""Speed beside other libraries, in one run: `python -m scorebench.bench.peer_timing [overhead update adaptive …]`

Every round runs each contender once in shuffled order, one thread, process CPU time; a figure is the median over the rounds
with its quartiles, and a ratio the median of the rounds' own ratios, so that a busy machine moves both sides. Prints the rows and
puts them into results/peer_timings.csv in place of the older rows of the same tables.
"""

import argparse
import csv
import importlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from .provenance import machine
from .timing import clock, threads

TABLE = Path("results/peer_timings.csv")
TABLES = ("overhead", "sde", "update", "adaptive", "network", "exact", "startup")
COLUMNS = (
    "table", "case", "contender", "version", "quantity", "unit", "median", "low", "high", "ratio", "note", "machine", "torch"
)  # fmt: skip
Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One figure with its quartiles; `ratio` is this contender's over ours, by rounds."""

    table: str
    case: str
    contender: str
    quantity: str
    unit: str
    median: float
    low: float
    high: float
    ratio: float = float("nan")
    note: str = ""


def rounds(makers: Mapping[str, Callable[[], Work]], number: int, repeats: int = 1) -> dict[str, np.ndarray]:
    """CPU seconds (number,) of each contender's work; `makers` make it ready off the clock."""
    found: dict[str, list[float]] = {name: [] for name in makers}
    shuffler = random.Random(0)
    with threads(1):
        for round_ in range(number + 2):
            for name in shuffler.sample(list(makers), len(makers)):
                works = [makers[name]() for _ in range(repeats)]
                spent = sum(clock(work)[0][1] for work in works) / 1e3 / repeats
                if round_ >= 2:  # two to warm up
                    found[name].append(spent)
    return {name: np.asarray(values) for name, values in found.items()}


def figure(table: str, case: str, contender: str, quantity: str, unit: str, values: np.ndarray, **more: object) -> Row:
    low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
    return Row(table, case, contender, quantity, unit, middle, low, high, **more)  # type: ignore[arg-type]


def over(values: np.ndarray, ours: np.ndarray) -> float:
    return float(np.median(values / ours))


def release(contender: str) -> str:
    """The installed version of the package a contender is named after."""
    name = contender.split(" ")[0]
    return version({"plain": "torch", "eager": "torch", "network": "torch", "products": "torch"}.get(name, name))


def write(rows: Sequence[Row], path: Path = TABLE) -> None:
    """The rows, in place of those of the same tables."""
    new = {row.table for row in rows}
    kept = []
    if path.is_file():
        with path.open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if row["table"] not in new]
    here = {"machine": machine(), "torch": torch.__version__}
    fresh = [{**vars(row), **here, "version": release(row.contender)} for row in rows]
    for entry in fresh:
        entry.update({k: f"{v:.4g}" for k, v in entry.items() if isinstance(v, float)})
    order = {name: place for place, name in enumerate(TABLES)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted([*kept, *fresh], key=lambda row: order.get(str(row["table"]), 99)))


def measured(table: str, number: int) -> Iterator[Row]:
    """The rows of a table, whose module is named after it."""
    module = importlib.import_module(f"{__package__}.peers_{table}")
    yield from module.measure(number)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m scorebench.bench.peer_timing", description=__doc__)
    parser.add_argument("tables", nargs="*", help=f"of {', '.join(TABLES)}; all by default")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--out", type=Path, default=TABLE)
    given = parser.parse_args(arguments)
    for name in given.tables:
        if name not in TABLES:
            parser.error(f"no table {name!r}: choose among {', '.join(TABLES)}")
    for name in given.tables or TABLES:
        rows = []
        for row in measured(name, given.rounds):
            rows.append(row)
            ratio = "" if np.isnan(row.ratio) else f"{row.ratio:8.2f}×"
            spread = f"[{row.low:.4g}, {row.high:.4g}]"
            what = f"{row.quantity:24s} {row.median:10.4g} {spread:20s} {row.unit:12s}"
            print(f"{row.table:9s} {row.case:24s} {row.contender:14s} {what} {ratio:9s} {row.note}", flush=True)
        write(rows, given.out)


if __name__ == "__main__":
    main(sys.argv[1:])

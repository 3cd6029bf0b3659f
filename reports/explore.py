"""What the interactive plots show: each measure of each model against every cost that was measured."""

import hashlib
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scorebench.reference_models.errors import UsageError

from .chooser import heading
from .figures import CEILING, QUALITY
from .results import TIMED, Results
from .style import colour, is_peer, marker
from .verdicts import PAIRED
from .wording import count, number, with_interval

Json = dict[str, Any]
Row = dict[Any, Any]
VENDOR = Path(__file__).with_name("vendor")
BUNDLE = "plotly-basic-4.1.1.min.js"
MEASURES = {metric: words for metric, (_, words) in QUALITY.items()} | {
    "excess_fid": "Fréchet distance, less that of the reference solution, where positive"
}
COSTS = {
    "nfe": "network calls per sample (NFE)", "flops": "FLOPs per sample", "ms": "milliseconds a batch",
    "ratio": "time over that of the anchor at its budget",
}  # fmt: skip
SYMBOLS = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down", "P": "cross", "h": "hexagon",
    "*": "star", "X": "x", "p": "pentagon",
}  # fmt: skip
SAME = ["solver", "options", "grid", "budget"]
POINT = [*SAME, "label", "kind", "value", "low", "high"]


def bundle() -> str:
    """The text of plotly's basic bundle; UsageError where it is not the file that was committed."""
    raw, digest = (VENDOR / BUNDLE).read_bytes(), (VENDOR / f"{BUNDLE}.sha256").read_text().split()[0]
    if hashlib.sha256(raw).hexdigest() != digest:
        raise UsageError(f"{VENDOR / BUNDLE} is not the file whose digest stands beside it: install scorebench again")
    return raw.decode()


def data(results: Results) -> dict[str, list[Json]]:
    """By model the panels, one a measure."""
    panels: dict[str, list[Json]] = {}
    for metric, words in MEASURES.items():
        for model, measure, field, rows in results.principal(metric):
            mine = panels.setdefault(model, [])
            rows = with_costs(results, model, metric, rows)
            failed = failures(results, model, field, str(rows["pass"].iloc[0]))
            floor = rows["floor"].dropna()
            edge = float(floor.iloc[0]) if len(floor) else None
            told: Json = {"floor_is": "uncertainty of the reference" if metric in PAIRED else "real against real data"}
            told |= {"ceiling": CEILING.get(metric)}
            mine.append(panel(heading(measure), words, rows, failed, edge) | told)
    return panels


def with_costs(results: Results, model: str, metric: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the columns of COSTS, NaN where one was not measured."""
    prefix = "likelihood_" if metric == "likelihood_error" else ""
    rows = rows.assign(nfe=rows["nfe_mean"], flops=pd.to_numeric(rows["flops"]))
    for name, timed in (("ms", "likelihood_ms" if prefix else "time_ms"), ("ratio", f"{prefix}time_ratio")):
        found = [r for m, _, _, r in results.principal(timed) if m == model]
        times = found[0][[*SAME, "value"]].rename(columns={"value": name}) if found else None
        rows = rows.assign(**{name: np.nan}) if times is None else rows.merge(times, on=SAME, how="left")
    return rows


def panel(title: str, words: str, rows: pd.DataFrame, failed: list[Json], floor: float | None) -> Json:
    """One measure: its lines in the order of their best value."""
    finite = rows[np.isfinite(rows["value"])].sort_values(["value", "nfe"], kind="stable")
    costs = {name: text for name, text in COSTS.items() if np.isfinite(finite[name]).any()}
    points: dict[str, list[Row]] = {}
    for row in finite[[*POINT, *COSTS]].to_dict("records"):
        points.setdefault(str(row["label"]), []).append(row)
    lines = [line(label, sorted(found, key=lambda row: row["nfe"]), costs) for label, found in points.items()]
    return {"title": title, "words": words, "costs": costs, "lines": lines, "failed": failed, "floor": floor}


def line(label: str, rows: list[Row], costs: Json) -> Json:
    """One solver: its look, its costs and values, and the text of each point."""
    solver = str(rows[0]["solver"])
    numbers = {
        name: [None if not isfinite(row[name]) else float(f"{row[name]:.6g}") for row in rows]
        for name in (*costs, "value", "low", "high")
    }
    return {
        "label": label, "colour": colour(solver), "symbol": SYMBOLS[marker(solver)],
        "dash": "dot" if is_peer(solver) else "dash" if rows[0]["kind"] == "sde" else "solid",
        "text": [point(row) for row in rows], **numbers,
    }  # fmt: skip


def point(row: Row) -> str:
    """Where and with what a point was measured."""
    options = "" if row["options"] == "{}" else f", {row['options']}"
    spent = f"{count(row['nfe'])} calls" + (f", {number(row['ms'])} ms" if isfinite(row["ms"]) else "")
    return f"{row['solver']} on {row['grid']}{options}: {spent}, {with_interval(row['value'], row['low'], row['high'])}"


def failures(results: Results, model: str, field: str, kind: str) -> list[Json]:
    """The cells that failed, by label, with the budgets where they did."""
    cells = results.frame.drop_duplicates("cell")
    same = (cells["model"] == model) & (cells["pass"] == kind) & (cells["field"] == field) & ~cells["pass"].isin(TIMED)
    failed = cells[same & (cells["status"] == "failed") & cells["budget"].notna()]
    return [{"label": str(label), "nfe": rows["budget"].tolist()} for label, rows in failed.groupby("label")]

"""The report as one self-contained HTML page: what the template shows, in the order of a reader's asking."""

import base64
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import (
    across,
    attribution,
    certified,
    chooser,
    explore,
    history,
    likelihood,
    literature,
    robustness,
    tables,
    timings,
)
from .captions import suspicion
from .chooser import heading
from .drawing import Drawn
from .results import TIMED, Results
from .verdicts import HEADLINE, TIMES, Contest, Verdict
from .wording import count, interval, number, slug, with_interval

EMPTY = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>Nothing to report</title>
<body style="font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 3rem auto; padding: 0 1rem">
<h1>Nothing to report</h1><p>{{ message }}</p></body></html>
"""
TEMPLATES = Path(__file__).with_name("templates")
PASSES = {
    "sample": "Sampling", "likelihood": "Likelihood", "round-trip": "Round trips", "time": "Time",
    "likelihood-time": "Time of likelihoods",
}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """All that the page and the Markdown say."""

    results: Results
    calls: Sequence[Verdict]
    times: Sequence[Verdict]
    drawing: Callable[[], Sequence[Drawn]] = tuple
    judged: Sequence[tuple[Contest, Verdict]] = ()

    @cached_property
    def pictures(self) -> Sequence[Drawn]:
        """Every figure, when it is drawn."""
        return self.drawing()

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Every cell in one row."""
        return tables.summary(self.results)

    def models(self) -> list[str]:
        return [str(model) for model in self.results.frame["model"].unique()]

    def leaderboard(self, model: str) -> tuple[list[float], list[tuple[str, list[Verdict | None]]]]:
        """The budgets, and for each measure its heading and its verdict at each of them."""
        mine = [v for v in principal(self.results, self.calls) if v.model == model and v.metric in HEADLINE]
        budgets = sorted({v.budget for v in mine})
        cells = {(v.measure, v.budget): v for v in mine}
        measures = dict.fromkeys(v.measure for v in mine)
        return budgets, [(heading(m), [cells.get((m, budget)) for budget in budgets]) for m in measures]

    def clocks(self, model: str) -> list[tuple[str, list[Verdict]]]:
        """The heading and the verdicts of each timed error."""
        found = {metric: [v for v in self.times if (v.model, v.metric) == (model, metric)] for metric in TIMES}
        return [(heading(metric), verdicts) for metric, verdicts in found.items() if verdicts]


def principal(results: Results, calls: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts of each measure's largest comparison; smaller ones stand in best.csv only."""
    fields = {
        (model, measure): field
        for metric in dict.fromkeys(v.metric for v in calls)
        for model, measure, field, _ in results.principal(metric)
    }
    return [v for v in calls if fields[v.model, v.measure] == v.field]


def empty(message: str) -> str:
    """A page for a store that holds nothing, which says so."""
    template = Environment(autoescape=True).from_string(EMPTY)
    return template.render(message=message)


def html(report: Report) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {
        "number": number,
        "count": count,
        "slug": slug,
        "link": link,
        "heading": heading,
        "suspicion": suspicion,
    }
    environment.filters.update(filters)
    environment.globals["interval"] = interval
    return environment.get_template("report.html.j2").render(**context(report))


def context(report: Report) -> dict[str, Any]:
    """What the template reads."""
    results = report.results
    answers, panels = chooser.data(results), explore.data(results)
    return {
        "explored": panels,
        "points": chooser.script(panels),
        "plotly": explore.bundle() if panels else "",
        "explore_script": TEMPLATES.joinpath("explore.js").read_text(),
        "script": TEMPLATES.joinpath("chooser.js").read_text(),
        "chooser": chooser.script(answers) if answers["models"] else "",
        "suites": [suite["name"] for suite in results.suites],
        "run": provenance(results),
        "missing": results.missing,
        "cells": results.frame["cell"].nunique(),
        "models": [section(report, model) for model in report.models()],
        "suspects": [v for v in principal(results, report.calls) if v.memorisation],
        "smaller": len(report.calls) > len(principal(results, report.calls)),
        "troubles": tables.troubles(results).to_dict("records"),
        "references": bibliography(results),
        "glance": [p for metric in across.METRICS for p in pictured(report, f"winners-{slug(metric)}.png")],
        "across": [part for metric in across.METRICS if (part := across_models(report, metric))],
        "history": pictured(report, "history.png"),
        "timings": pictured(report, timings.PICTURE),
        "moved": history.table(history.read()),
        "certified": certified.table(results),
        "literature": [table for table in (literature.agreements(results), literature.beside(results)) if table[1]],
        "literature_can": literature.CAN,
        "again": again(results.frame.iloc[0]),
    }


def pictured(report: Report, file: str) -> list[tuple[Drawn, str]]:
    """The picture of no model that has this file, as the page embeds it; none where there is none."""
    return encoded(p for p in report.pictures if p.model == "" and p.file == file)


def encoded(pictures: Iterable[Drawn]) -> list[tuple[Drawn, str]]:
    return [(p, base64.b64encode(p.png).decode()) for p in pictures]


def section(report: Report, model: str) -> dict[str, Any]:
    """Everything about one model."""
    budgets, board = report.leaderboard(model)
    return {
        "name": model,
        "facts": report.results.models.get(model, {}),
        "budgets": budgets,
        "board": board,
        "clocks": report.clocks(model),
        "reached": [table for name, *table in more_tables(report.results) if name == model],
        "floors": tables.floors(report.results, model),
        "pictures": encoded(p for p in report.pictures if p.model == model),
        "numbers": every_number(report, model),
    }


def across_models(report: Report, metric: str) -> dict[str, Any]:
    """The pictures and the table of one measure across models; empty where there is one problem at most."""
    problems, found = across.standings(report.results, report.judged, metric)
    if problems < 2:
        return {}
    return {
        "words": across.METRICS[metric],
        "pictures": pictured(report, f"profiles-{slug(metric)}.png"),
        "table": across.table(problems, found),
    }


def more_tables(results: Results) -> Iterator[tuple[str, str, list[str], list[list[str]]]]:
    """(model, title, headings, rows) of what only some suites ask for."""
    yield from attribution.tables(results)
    yield from robustness.tables(results)
    yield from likelihood.tables(results)


def every_number(report: Report, model: str) -> list[tuple[str, dict[str, Any]]]:
    """By pass and field: a title, then the headings and the rows of text of a model's finished cells."""
    wide = report.summary
    wide = wide[(wide["model"] == model) & (wide["status"] == "ok")]
    measures = [str(m) for m in report.results.frame["measure"].unique() if m]
    found = []
    for name, field in wide[["pass", "field"]].drop_duplicates().itertuples(index=False):
        rows = wide[(wide["pass"] == name) & (wide["field"] == field)]
        present = [measure for measure in measures if rows[measure].notna().any()]
        lines = [line(row, present) for row in rows.to_dict("records")]
        headings = ["solver", "grid", "budget", "calls", *present]
        found.append((f"{PASSES.get(name, name)} ({field})", {"headings": headings, "rows": lines}))
    return found


def line(row: dict[Any, Any], measures: Sequence[str]) -> list[str]:
    """The text of one cell: who, where, what it spent, and each measure with its interval."""
    options = "" if row["options"] == "{}" or pd.notna(row["budget"]) else f" {row['options']}"
    cost = count(float(row["nfe_mean"]))
    if row["nfe_max"] > row["nfe_mean"]:
        cost += f" (at most {count(float(row['nfe_max']))})"
    values = [
        with_interval(*(float(row.get(f"{measure}{part}", float("nan"))) for part in ("", " low", " high")))
        for measure in measures
    ]
    return [f"{row['label']}{options}", str(row["grid"]), count(float(row["budget"])), cost, *values]


def provenance(results: Results) -> dict[str, str]:
    """Where the numbers come from, each a list of the distinct values in the store."""
    rows = results.frame
    started = pd.to_datetime(rows["started"], utc=True, format="ISO8601")
    days = list(dict.fromkeys(f"{day:%Y-%m-%d}" for day in (started.min(), started.max())))
    measured = rows[~rows["pass"].isin(TIMED)]
    sampled = measured[measured["pass"] == "sample"]
    sizes = (measured if sampled.empty else sampled)["n_samples"].unique()

    def listed(column: str) -> str:
        return ", ".join(sorted({str(value) for value in rows[column].dropna() if str(value)})) or "–"

    hours = float(rows.drop_duplicates("cell")["seconds"].sum()) / 3600
    return {
        "Date": " to ".join(days),
        "Machine": listed("machine"),
        "Device": listed("device"),
        "Threads": listed("threads"),
        "Commit": listed("commit"),
        "scorebench": listed("package_version"),
        "torch": listed("torch_version"),
        "Samples per cell": ", ".join(str(size) for size in sorted(sizes)) or "–",
        "Seeds": listed("seed_block"),
        "State": listed("dtype"),
        "Time in cells": f"{number(hours)} hours" if hours >= 1 else f"{number(60 * hours)} minutes",
    }


def again(row: "pd.Series[Any]") -> str:
    """The command that measures the cell of one row again, with all options that the suite gives its solver."""
    budget = ["--budget", count(row["budget"])] if pd.notna(row["budget"]) else []
    words = ["scorebench", "run", row["suite"], "--model", row["model"], "--solver", row["solver"], *budget]
    return shlex.join(map(str, words))


def bibliography(results: Results) -> list[dict[str, Any]]:
    """The papers of the solvers in the store, once each, with the ids that they define."""
    used = {str(solver) for solver in results.frame["solver"]}
    papers: dict[tuple[str, str], dict[str, Any]] = {}
    for name, facts in sorted(results.solvers.items()):
        paper = facts.get("reference") or {}
        if name in used and paper:
            entry = papers.setdefault((paper["authors"], paper["title"]), {**paper, "solvers": []})
            entry["solvers"].append(f"{name} ({paper['where']})" if paper.get("where") else name)
    return sorted(papers.values(), key=lambda paper: str(paper["authors"]))


def link(reference: str) -> str:
    """The address of an arXiv or DOI reference, of a plain link itself; empty otherwise."""
    kind, _, rest = reference.partition(":")
    known = {"arxiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}
    if kind.lower() in known:
        return known[kind.lower()] + rest.strip()
    return reference if reference.startswith(("https://", "http://")) else ""

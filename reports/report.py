"""A store turned into a report: one page, the same in Markdown, the tables and the figures."""

import os
from pathlib import Path

from pandas import DataFrame

from scorebench.bench.store import write_whole
from scorebench.reference_models.errors import UsageError

from . import attribution, tables
from .duels import duels
from .figures import all_pictures
from .markdown import markdown
from .page import Report, html
from .results import Results, load
from .verdicts import best_at_each_time, contests, verdict


def write_report(store: Path, out: Path) -> list[Path]:
    """Write report.html, report.md, the tables and the figures into `out`; returns the files written.

    UsageError, and nothing written, where the store is missing or damaged or `out` cannot be written.
    """
    check_writable(out)
    files = contents(store)
    try:
        for name, content in files.items():
            write_whole(out / name, content)
    except OSError as error:
        raise UsageError(f"cannot write the report to {out}: {error.strerror}") from None
    return [out / name for name in files]


def contents(store: Path) -> dict[str, bytes]:
    """Every file of the report, by name; the page first."""
    results = load(store)
    compared = list(contests(results))
    calls, times = [verdict(contest) for contest in compared], best_at_each_time(results)
    report = Report(results, calls, times, all_pictures(results, calls, times))
    csv = {
        "rows.csv": results.rows,
        "best.csv": tables.best([*calls, *times]),
        "duels.csv": duels(compared),
        **analysed(results),
        "summary.csv": report.summary,
    }
    return {
        "report.html": html(report).encode(),
        "report.md": markdown(report).encode(),
        **{name: table.to_csv(index=False).encode() for name, table in csv.items()},
        **{picture.file: picture.png for picture in report.pictures},
    }


def analysed(results: Results) -> dict[str, DataFrame]:
    """The analysis of variance, where choices are crossed."""
    found = list(attribution.crossings(results))
    return (
        {"attribution.csv": attribution.shares(found), "main_effects.csv": attribution.effects(found)} if found else {}
    )


def check_writable(out: Path) -> None:
    """UsageError unless the folder, or the nearest one above it that exists, can be written."""
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write the report to {out}: {existing} is not a writable folder")

"""A store turned into a report: one page, the same in Markdown, the tables and the figures."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pandas import DataFrame

from scorebench.bench.store import write_whole
from scorebench.reference_models.errors import UsageError

from . import across, attribution, history, tables, timings, winners
from .drawing import Drawn, aside, draw
from .duels import duels
from .figures import Picture, all_pictures
from .markdown import markdown
from .page import Report, empty, html
from .results import Empty, Results, load
from .verdicts import Contest, Verdict, best_at_each_time, contests, verdict
from .wording import slug


def write_report(store: Path, out: Path, printed: bool = False) -> list[Path]:
    """Write report.html, report.md, the tables and the figures into `out`; returns the files written.

    With `printed` the figures stand in the folder print, too, as SVG and as PNG at 300 dots an inch.

    UsageError, and nothing written, where the store is missing or damaged or `out` cannot be written.
    """
    check_writable(out)
    try:
        files = contents(store, printed)
    except Empty as error:
        files = {"report.html": empty(str(error)).encode()}
    try:
        for name, content in files.items():
            write_whole(out / name, content)
    except OSError as error:
        raise UsageError(f"cannot write the report to {out}: {error.strerror}") from None
    return [out / name for name in files]


def contents(store: Path, printed: bool = False) -> dict[str, bytes]:
    """Every file of the report, by name; the page first."""
    results = load(store)
    compared = list(contests(results))
    calls, times = [verdict(contest) for contest in compared], best_at_each_time(results)
    judged = list(zip(compared, calls, strict=True))

    def drawn() -> list[Drawn]:
        pictures = (
            *all_pictures(results, calls, times),
            *at_a_glance(results, judged),
            *profiles(results, judged),
            *speeds(),
            *benchmarks(),
        )
        return [draw(picture, printed) for picture in pictures]

    report = Report(results, calls, times, aside(drawn), judged)
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
        **{f"print/{name}": file for picture in report.pictures for name, file in picture.printed.items()},
    }


def benchmarks() -> Iterator[Picture]:
    """The history of the benchmarks, where this checkout has one."""
    if series := history.read():
        words = f"Line chart of benchmarks over commits, the {history.SHOWN} that changed most by name."
        told = "Benchmarks over commits", history.caption(series), words
        yield Picture("", "history.png", *told, history.chart(series))


def speeds() -> Iterator[Picture]:
    """Times beside other libraries, where this checkout has them."""
    rows = timings.read()
    if len(rows):
        told = "Beside other libraries: speed", timings.caption(rows), timings.ALT
        yield Picture("", timings.PICTURE, *told, timings.chart(rows))


def at_a_glance(results: Results, judged: Sequence[tuple[Contest, Verdict]]) -> Iterator[Picture]:
    """Who is best on each model at each budget, of each measure that decides budgets of several models."""
    for metric, words in across.METRICS.items():
        found = winners.board(results, judged, metric)
        if len({model for model, _ in found}) > 1:
            told = f"The best at each budget by {words}", winners.caption(found)
            figure = winners.chart(metric, found)
            yield Picture("", f"winners-{slug(metric)}.png", *told, winners.alt(metric, found), figure)


def profiles(results: Results, judged: Sequence[tuple[Contest, Verdict]]) -> Iterator[Picture]:
    """The performance profiles of each measure that decides budgets of several problems."""
    for metric, words in across.METRICS.items():
        problems, found = across.standings(results, judged, metric)
        if problems > 1:
            told = f"Across models: performance profiles by {words}", across.caption(problems, found)
            figure = across.chart(metric, problems, found)
            yield Picture("", f"profiles-{slug(metric)}.png", *told, across.alt(metric, found), figure)


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

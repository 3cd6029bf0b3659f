"""The command that tells whether something became worse."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from scorebench.reference_models.errors import UsageError

from .shared import app, console

if TYPE_CHECKING:
    from scorebench.bench.revisions import Revision
    from scorebench.reports.compare.comparison import Comparison
    from scorebench.reports.compare.side import Side

# ruff: noqa: B006  (typer reads the defaults; nothing mutates them)

REVISIONS = Path("results/local/revisions")


@app.command()
def compare(
    base: Annotated[str, typer.Argument(help="A store, a .csv or .csv.gz of rows, or a git revision.")],
    new: Annotated[str, typer.Argument(help="Likewise; '.' is the checkout as it stands.")],
    level: Annotated[list[str], typer.Option(help="Only cells, counts, golden, quality or time; repeatable.")] = [],
    partial: Annotated[bool, typer.Option(help="NEW measures only a part of BASE.")] = False,
    suite: Annotated[str, typer.Option(help="What revisions are measured by.")] = "quick",
    model: Annotated[list[str], typer.Option(help="Of revisions: only this model; repeatable.")] = [],
    solver: Annotated[list[str], typer.Option(help="Of revisions: only this solver; repeatable.")] = [],
    budget: Annotated[list[int], typer.Option(help="Of revisions: only this budget; repeatable.")] = [],
    format: Annotated[Literal["table", "markdown", "json"], typer.Option(help="What is printed.")] = "table",
    out: Annotated[Path | None, typer.Option(help="A folder for comparison.md and comparison.json.")] = None,
    update_baseline: Annotated[
        Path | None, typer.Option(help="Write NEW's rows to this .csv or .csv.gz, as the next base; needs --reason.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why the baseline changes; it stands in the file.")] = "",
) -> int:
    """Say what became worse or better from BASE to NEW: counts, golden numbers, quality, time.

    Exit code 1 when something became worse, 2 when the two cannot be compared.
    """
    from scorebench.reports.compare.comparison import compare as compared
    from scorebench.reports.compare.comparison import markdown, to_json
    from scorebench.reports.compare.side import TABLES, write

    if update_baseline is not None and (not reason.strip() or not update_baseline.name.endswith(TABLES)):
        raise UsageError(f"--update-baseline {update_baseline}: name a .csv or .csv.gz, and say why with --reason TEXT")
    sides = Sides((base, new), suite, {"--model": model, "--solver": solver, "--budget": budget})
    was, now = sides.read()
    comparison = sides.retimed(compared(was, now, level, partial))
    texts = {"markdown": markdown(comparison), "json": to_json(comparison)}
    if out is not None:
        _write(out, texts)
    if format == "table":
        _print(comparison)
    else:
        print(texts[format], end="")
    if update_baseline is not None:
        write(now, update_baseline, reason, datetime.now(UTC).date().isoformat())
        console.print(f"wrote {update_baseline}", soft_wrap=True)
    return int(comparison.regressed and update_baseline is None)


@dataclass
class Sides:
    """Both sides of a comparison; where one is a git revision, both are, measured by the same part of a suite."""

    names: tuple[str, str]
    suite: str
    narrowed: dict[str, list[Any]]
    revisions: "list[Revision]" = field(default_factory=list)

    def read(self) -> "list[Side]":
        """Their rows; UsageError for a name that is neither store, table nor revision."""
        from scorebench.reports.compare.side import TABLES, is_store, read

        arguments = [
            part for option, values in self.narrowed.items() for value in values for part in (option, str(value))
        ]
        stores = []
        for name in self.names:
            if name.endswith(TABLES) or is_store(name):
                stores.append(name)
            elif (found := _revision(name)) is not None:
                self.revisions.append(found)
                stores.append(
                    str(found.measure(self.suite, arguments, lambda line: console.print(line, soft_wrap=True)))
                )
            else:
                raise UsageError(f"{name!r} is no store, no .csv of rows and no git revision")
        return [read(store) for store in stores]

    def retimed(self, comparison: "Comparison") -> "Comparison":
        """Times that seem slower are measured again, a few times, in turn, where both sides are revisions."""
        slower = [f for f in comparison.findings if f.level == "time" and f.verdict != "improvement"]
        if len(self.revisions) < 2 or not slower:
            return comparison
        from scorebench.bench.revisions import time_again
        from scorebench.bench.suite import load_suite
        from scorebench.reports.compare.levels import confirmed
        from scorebench.reports.compare.side import read

        names = {name: sorted({str(getattr(f, name)) for f in slower}) for name in ("model", "solver")}
        budgets = sorted({int(f.budget) for f in slower if f.budget == f.budget})
        suite = load_suite(self.suite).select(names["model"], self.narrowed["--solver"], budgets)
        rounds = time_again(self.revisions, suite, lambda line: console.print(line, soft_wrap=True))
        pairs = [(read(str(was)), read(str(now))) for was, now in rounds]
        return replace(comparison, findings=confirmed(comparison.findings, pairs))


def _revision(name: str) -> "Revision | None":
    from scorebench.bench.revisions import revision  # which imports torch: what two stores do without

    return revision(name, REVISIONS)


def _write(out: Path, texts: dict[str, str]) -> None:
    from scorebench.bench.store import write_whole

    for name, text in texts.items():
        write_whole(out / f"comparison.{'md' if name == 'markdown' else name}", text.encode())


def _print(comparison: "Comparison") -> None:
    from scorebench.reports.compare.comparison import HEADINGS, VERDICTS, grouped, line

    for name in VERDICTS[:3]:
        if found := comparison.of(name):
            table = Table(*HEADINGS, title=f"{name}s")
            for finding, more in grouped(found):
                table.add_row(*line(finding, more))
            console.print(table)
    for note in comparison.notes:
        console.print(note, soft_wrap=True)
    console.print(comparison.summary(), soft_wrap=True)

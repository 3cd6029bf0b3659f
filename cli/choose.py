"""The command that answers: which sampler, at my budget."""

import json
from dataclasses import asdict, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from scorebench.reference_models.errors import UsageError

from .shared import DEFAULT_STORE, StoreOption, app, console, load_solvers, progress_bar

if TYPE_CHECKING:
    from scorebench.bench.runner import Event
    from scorebench.reports.choose import Answer, Choice, Question

SHOWN = 12


@app.command()
def choose(
    model: Annotated[str, typer.Option(help="The model's address.")],
    nfe: Annotated[float | None, typer.Option(help="At most so many network calls a sample.")] = None,
    ms: Annotated[
        float | None, typer.Option(help="At most so many milliseconds a batch, on the machine measured.")
    ] = None,
    quality: Annotated[
        float | None, typer.Option(help="A value to reach, with its interval, in the fewest calls.")
    ] = None,
    by: Annotated[str, typer.Option(help="What counts: error, fid, likelihood or round-trip.")] = "error",
    deterministic: Annotated[bool, typer.Option(help="No solver that draws noise.")] = False,
    device: Annotated[str | None, typer.Option(help="Times of this device alone: cpu or cuda.")] = None,
    explain: Annotated[bool, typer.Option(help="Say why.")] = False,
    format: Annotated[
        Literal["table", "python", "toml", "diffusers", "json"],
        typer.Option(help="The answer, or a configuration to paste."),
    ] = "table",
    store: StoreOption = DEFAULT_STORE,
    measure: Annotated[
        str | None, typer.Option(help="First spend a time, as 10m, on measuring MODEL by successive halving.")
    ] = None,
) -> None:
    """Rank the samplers that fit a budget, say who ties, and give the configuration of the best to paste."""
    from scorebench.reports.choose import Question, choose
    from scorebench.reports.results import load

    given = {name: value for name, value in (("nfe", nfe), ("ms", ms), ("quality", quality)) if value is not None}
    if len(given) != 1:
        raise UsageError("name one limit: --nfe N, --ms T or --quality Q")
    (limit, amount), *_ = given.items()
    if not amount > 0:
        raise UsageError(f"--{limit} {amount:g}: give a positive number")
    if measure is not None or format not in ("table", "json"):
        load_solvers([])  # which an answer from the store's own facts does without, and torch's start with it
    if measure is not None:
        _measure(Question(model, limit, amount, by, deterministic, device), measure, store)
    answer = choose(load(store), Question(model, limit, amount, by, deterministic, device))
    if format == "table":
        _print(answer, explain)
    else:
        print(_written(answer, format), end="")


def _measure(question: "Question", text: str, store: Path) -> None:
    """Successive halving over solvers and grids, for as long as the text says."""
    from scorebench.bench.halving import BUDGETS, halve, seconds_of
    from scorebench.bench.store import Store
    from scorebench.reports.choose import choose
    from scorebench.reports.results import load

    if question.limit == "ms" or question.by not in ("error", "fid", "likelihood"):
        raise UsageError("--measure counts calls: with it name --nfe N or --quality Q, by error, fid or likelihood")
    budgets = [int(question.amount)] if question.limit == "nfe" else BUDGETS
    anything = replace(question, limit="nfe", amount=float(max(budgets)))

    def rank(store: Store) -> list[tuple[str, str]]:
        results = load(store.root)
        try:
            answer = choose(results, question)
        except UsageError:  # no candidate reached the quality yet: those that are nearest go on
            answer = choose(results, anything)
        return [(choice.solver, choice.grid) for choice in answer.choices]

    with progress_bar() as progress:
        bar = progress.add_task("", total=0)

        def tell(event: "Event") -> None:
            progress.update(bar, total=event.total, completed=len(event.done), description=event.text)

        arguments = (question.by == "likelihood", question.deterministic, seconds_of(text), Store(store), rank, tell)
        for done in halve(question.model, budgets, *arguments):
            console.print(f"{len(done.candidates)} candidates on {done.n} samples each")


def _print(answer: "Answer", explain: bool) -> None:
    from scorebench.reports.wording import count, number, with_interval

    title = f"{answer.question.model}, {answer.question.text}, by {answer.measure}"
    table = Table("", "solver", "grid", "budget", "calls", "ms", answer.measure, title=title)
    for place, c in enumerate(answer.choices[:SHOWN], 1):
        told = (f"{place} {c.standing}", c.label, c.grid, "" if isnan(c.budget) else count(c.budget), count(c.nfe))
        table.add_row(*told, number(c.ms), with_interval(c.value, c.low, c.high))
    console.print(table)
    if len(answer.choices) > SHOWN:
        console.print(f"and {len(answer.choices) - SHOWN} more")
    for reason in answer.why if explain else []:
        console.print(reason, soft_wrap=True)
    console.print(f"measured with {answer.field}", soft_wrap=True)


def _written(answer: "Answer", format: str) -> str:
    from scorebench.bench.configurations import as_python, as_toml

    if format == "json":
        ranked = [
            {k: None if isinstance(v, float) and isnan(v) else v for k, v in asdict(c).items()} for c in answer.choices
        ]
        body = {"question": asdict(answer.question), "measure": answer.measure, "choices": ranked, "why": answer.why}
        return json.dumps(body, indent=1) + "\n"
    if format == "diffusers":
        return _scheduler(answer)
    return (as_python if format == "python" else as_toml)(answer.question.model, *_configuration(answer.best))


def _configuration(choice: "Choice") -> "tuple[str, dict[str, Any], str, int | None]":
    return choice.solver, choice.options, choice.grid, None if isnan(choice.budget) else int(choice.budget)


def _scheduler(answer: "Answer") -> str:
    """The best entrant that is a scheduler of diffusers; UsageError where none is."""
    from scorebench.bench.configurations import as_diffusers

    for place, choice in enumerate(answer.choices, 1):
        try:
            text = as_diffusers(answer.question.model, *_configuration(choice))
        except UsageError:
            continue
        note = f"# {choice.label}, {choice.standing}: {choice.value:.3g}"
        beside = "" if place == 1 else f"; no scheduler is {answer.best.label}, the best, with {answer.best.value:.3g}"
        return f"{note}{beside}\n{text}"
    raise UsageError(
        f"no scheduler of diffusers is any of the {len(answer.choices)} entrants: take --format python or toml"
    )

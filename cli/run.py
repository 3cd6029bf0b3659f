"""Commands that measure and report: run, report, suites, solvers, doctor."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from .shared import DEFAULT_STORE, PluginOption, StoreOption, app, console, load_solvers, print_facts, progress_bar

# ruff: noqa: B006  (typer reads the defaults; nothing mutates them)


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="A shipped suite (see `suites`) or a .toml file.")],
    store: StoreOption = DEFAULT_STORE,
    model: Annotated[list[str], typer.Option(help="Only this model, or one the suite lacks; repeatable.")] = [],
    solver: Annotated[list[str], typer.Option(help="Only this solver, or one the suite lacks; repeatable.")] = [],
    budget: Annotated[list[int], typer.Option(help="Only this budget of network calls; repeatable.")] = [],
    grid: Annotated[list[str], typer.Option(help="This time grid instead of each solver's own; repeatable.")] = [],
    plugin: PluginOption = [],
) -> None:
    """Measure every cell of a suite that the store lacks. Interrupted, it continues where it stopped."""
    load_solvers(plugin)
    from scorebench.bench.cells import plan
    from scorebench.bench.runner import run_suite
    from scorebench.bench.store import Store
    from scorebench.bench.suite import load_suite

    chosen = load_suite(suite).select(model, solver, budget, grid)
    chosen.check()
    with progress_bar() as progress:
        bar = progress.add_task("", total=len(plan(chosen)))

        def say(what: str, done: int) -> None:
            progress.update(bar, advance=done, description=what)
            if not console.is_terminal and what.startswith("reference"):
                console.print(what)
            if not console.is_terminal and done > 0 and progress.tasks[0].completed % 50 < done:
                console.print(f"{progress.tasks[0].completed:.0f} of {progress.tasks[0].total:.0f} cells, {what}")

        outcome = run_suite(chosen, Store(store), say, partial=bool(model or solver or budget or grid))
    new = outcome.cells - outcome.reused
    console.print(
        f"suite {chosen.name}: {outcome.cells} cells in {store}, {new} new, {outcome.reused} reused, "
        f"{outcome.skipped} skipped (budget too small), {outcome.failed} failed"
    )


@app.command()
def report(
    store: StoreOption = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option(help="Where to write; STORE/report by default.")] = None,
) -> None:
    """Turn a store into report.html, report.md, CSV tables and figures."""
    from scorebench.reports.report import write_report

    written = write_report(store, out or store / "report")
    console.print(f"wrote {len(written)} files, first {written[0]}", soft_wrap=True)


@app.command()
def suites() -> None:
    """List the shipped suites."""
    from scorebench.bench.cells import plan
    from scorebench.bench.suite import load_suite, shipped_suites

    table = Table("suite", "cells", "about")
    for name in shipped_suites():
        suite = load_suite(name)
        table.add_row(name, str(len(plan(suite))), suite.about)
    console.print(table)


@app.command()
def solvers(
    id: Annotated[str | None, typer.Argument(help="One solver, by id or alias.")] = None, plugin: PluginOption = []
) -> None:
    """List the solvers, or tell all about one."""
    load_solvers(plugin)
    from scorebench.solvers.aliases import cost_rule, describe
    from scorebench.solvers.facts import SOLVERS
    from scorebench.solvers.registry import find

    if id is not None:
        print_facts(describe(find(id)))
        return
    table = Table("solver", "kind", "order", "self-started", "cost", "grid", "published")
    for info in SOLVERS.values():
        cells = (info.kind, info.order, info.self_started, cost_rule(info), info.grid, info.reference.authors)
        table.add_row(info.id, *("–" if cell is None else str(cell) for cell in cells))
    console.print(table)


@app.command()
def doctor() -> None:
    """Say what this installation can do, and name the cause where it cannot."""
    import torch

    from scorebench.bench.provenance import machine
    from scorebench.reference_models import torchvision_repair
    from scorebench.reference_models.addresses import load_model, shipped

    lines: dict[str, Any] = {"machine": machine(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    lines["CUDA"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none: CPU only"
    needed = torchvision_repair.needed()
    lines["torchvision"] = (
        "CUDA build beside CPU torch: its two operators are declared for it" if needed else "no repair needed"
    )
    lines["torch-fidelity"] = _try(_import_fidelity)
    lines.update({f"model {name}": _try(lambda n=name: load_model(n)) for name in shipped()})  # type: ignore[misc]
    print_facts(lines)


def _import_fidelity() -> None:
    from scorebench.reference_models.torchvision_repair import repair

    repair()
    import torch_fidelity  # noqa: F401


def _try(work: Callable[[], object]) -> str:
    try:
        work()
    except Exception as error:
        return f"FAILS: {error}"
    return "works"

"""Commands that measure and report: run, report, suites, solvers."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .listing import solver_rows, suite_facts
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
    timed: Annotated[
        bool | None,
        typer.Option("--timed/--untimed", help="Time all these models, or none; by default as the suite does."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where models run and samples are made: cpu or cuda.")] = None,
    capture: Annotated[
        bool, typer.Option(help="Networks compiled; on a GPU each timed solve as one CUDA graph. Fixed steps only.")
    ] = False,
    channels_last: Annotated[bool, typer.Option(help="Networks with channels as the last axis of memory.")] = False,
    autocast: Annotated[str, typer.Option(help="Networks in bfloat16 or float16; the state stays float32.")] = "",
    time_limit: Annotated[float, typer.Option(help="Seconds that one cell may take; 0 for any.", min=0)] = 3600,
    ray: Annotated[
        str | None, typer.Option(help="A Ray cluster's HOST:PORT or `auto`; `local` or `local:N` for N workers here.")
    ] = None,
) -> None:
    """Measure every cell of a suite that the store lacks. Interrupted or killed, it continues where it stopped.

    Runs at the same time on one store divide the cells. A cell that crashes or hangs costs itself alone. With --ray,
    quality cells are spread over a cluster; those that are timed run one by one on this machine.
    """
    load_solvers(plugin)
    from scorebench.bench.placement import check_device
    from scorebench.bench.runner import Event, Orders
    from scorebench.bench.store import Store
    from scorebench.bench.suite import load_suite
    from scorebench.bench.watched import run_watched

    whole = load_suite(suite)
    execution = whole.execution.under(capture=capture, channels_last=channels_last, autocast=autocast)
    chosen = whole.select(model, solver, budget, grid, device, execution, timed)
    if ray is None:
        check_device(chosen.device)
    chosen.check()
    with progress_bar() as progress:
        bar, done = progress.add_task("", total=0), set[str]()

        def tell(event: Event) -> None:
            before = len(done)
            done.update(event.done)
            progress.update(bar, completed=len(done), description=event.text, total=event.total)
            if event.note or (not console.is_terminal and event.text.startswith("reference")):
                console.print(event.text, soft_wrap=True)
            elif not console.is_terminal and before // 50 < len(done) // 50:
                console.print(f"{len(done)} of {progress.tasks[0].total:.0f} cells, {event.text}")

        partial_run = bool(model or solver or budget or grid or timed is not None)
        orders = Orders(partial=partial_run, limit=time_limit, prepare=partial(load_solvers, plugin))
        if ray is None:
            outcome = run_watched(chosen, Store(store), tell, orders)
        else:
            from scorebench.bench.cluster import run_on_ray

            outcome = run_on_ray(chosen, Store(store), tell, orders, ray)
    console.print(
        f"suite {chosen.name}: {outcome.cells} cells in {store}, {outcome.new} new, {outcome.reused} reused, "
        f"{outcome.skipped} skipped (the report says why), {outcome.failed} failed"
    )


@app.command()
def report(
    store: StoreOption = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option(help="Where to write; STORE/report by default.")] = None,
    printed: Annotated[
        bool, typer.Option("--print", help="Figures also as SVG and as PNG of 300 dots an inch.")
    ] = False,
) -> None:
    """Turn a store into report.html, report.md, CSV tables and figures."""
    from scorebench.reports.report import write_report

    written = write_report(store, out or store / "report", printed)
    console.print(f"wrote {len(written)} files, first {written[0]}", soft_wrap=True)


@app.command()
def suites(
    name: Annotated[str | None, typer.Argument(help="One suite, shipped or a .toml file.")] = None,
) -> None:
    """List the shipped suites, or check one and tell all about it."""
    from scorebench.bench.cells import plan
    from scorebench.bench.suite import load_suite, shipped_suites

    if name is not None:
        print_facts(suite_facts(load_suite(name)))
        return
    table = Table("suite", "cells", "about")
    for shipped in shipped_suites():
        suite = load_suite(shipped)
        table.add_row(shipped, str(len(plan(suite))), suite.about)
    console.print(table)


@app.command()
def solvers(
    id: Annotated[str | None, typer.Argument(help="One solver, by id or alias.")] = None, plugin: PluginOption = []
) -> None:
    """List the solvers, or tell all about one."""
    if id is not None:
        load_solvers(plugin)
        from scorebench.solvers.aliases import told_of

        print_facts(told_of(id))
        return
    table = Table("solver", "kind", "order", "self-started", "cost", "grid", "published")
    for row in solver_rows(plugin):
        table.add_row(*row)
    console.print(table)

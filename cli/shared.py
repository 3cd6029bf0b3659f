"""What the commands share: the application, the console, options."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="The command line")
console = Console(width=None if sys.stdout.isatty() else 140)
DEFAULT_STORE = Path("results/local")
StoreOption = Annotated[Path, typer.Option("--store", help="The store: a folder, made when missing.")]
PluginOption = Annotated[list[str], typer.Option("--plugin", help="A Python file that registers solvers; repeatable.")]


def progress_bar(total: int | None = None) -> Progress:
    """A progress bar that says how many are left and for how long."""
    left = TextColumn("{task.remaining:.0f} left,")
    columns = (BarColumn(), MofNCompleteColumn(), left, TimeRemainingColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=console, transient=True)


def load_solvers(plugins: list[str]) -> None:
    """Register what installed packages and the plug-in files offer."""
    from scorebench.solvers.registry import load_entry_points, load_plugin

    load_entry_points()
    for plugin in plugins:
        load_plugin(plugin)


def print_facts(facts: dict[str, Any]) -> None:
    """Names and values in two columns, lists joined by commas."""
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
    console.print(table)

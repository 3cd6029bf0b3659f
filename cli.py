"""The command line: the only module that sees everything."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from scorebench.reference_models.errors import UsageError, unknown

HELP = "Measure the numerical methods that turn diffusion models into samples and likelihoods, and compare them."
app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__.split(":")[0]
)
console = Console(width=None if sys.stdout.isatty() else 140)
DEFAULT_STORE = Path("results/local")
StoreOption = Annotated[Path, typer.Option("--store", help="The store: a folder, made when missing.")]
# ruff: noqa: B006  (typer reads the defaults; nothing mutates them)
PluginOption = Annotated[list[str], typer.Option("--plugin", help="A Python file that registers solvers; repeatable.")]


def _progress(total: int | None = None) -> Progress:
    left = TextColumn("{task.remaining:.0f} left,")
    columns = (BarColumn(), MofNCompleteColumn(), left, TimeRemainingColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=console, transient=True)


def _load_solvers(plugins: list[str]) -> None:
    from scorebench.solvers.registry import load_entry_points, load_plugin

    load_entry_points()
    for plugin in plugins:
        load_plugin(plugin)


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
    _load_solvers(plugin)
    from scorebench.bench.cells import plan
    from scorebench.bench.runner import run_suite
    from scorebench.bench.store import Store
    from scorebench.bench.suite import load_suite

    chosen = load_suite(suite).select(model, solver, budget, grid)
    chosen.check()
    with _progress() as progress:
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
    _load_solvers(plugin)
    from scorebench.solvers.facts import SOLVERS
    from scorebench.solvers.registry import find

    if id is not None:
        _facts(find(id).facts())
        return
    table = Table("solver", "kind", "order", "self-started", "calls a step", "grid", "published")
    for info in SOLVERS.values():
        cells = (info.kind, info.order, info.self_started, info.calls_per_step, info.grid, info.reference.authors)
        table.add_row(info.id, *("–" if cell is None else str(cell) for cell in cells))
    console.print(table)


@app.command()
def models(
    address: Annotated[str | None, typer.Argument(help="One model, by address.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw 96 samples of that model to this PNG file.")] = None,
) -> None:
    """List the models, or show one's card and where its sample sheet is."""
    from rich.markdown import Markdown

    from scorebench.bench.model_card import card_of, draw_sheet, facts_of
    from scorebench.reference_models.addresses import addresses, load_model

    if address is None:
        if sheet is not None:
            raise UsageError(
                "--sheet draws one model's samples: name it, as in `scorebench models exact:gmm --sheet gmm.png`"
            )
        rows = [facts_of(load_model(name)) for name in addresses()]
        table = Table("model", *rows[0])
        for name, row in zip(addresses(), rows, strict=True):
            table.add_row(name, *row.values())
        console.print(table)
        return
    model = load_model(address)
    _facts({"model": address, **facts_of(model)})
    card = card_of(address)
    if card is not None:
        console.print(Markdown(card.read_text()))
        console.print(f"sample sheet: {card.with_name('samples.png')}", soft_wrap=True)
    if sheet is not None:
        draw_sheet(model, sheet)
        console.print(f"sample sheet: {sheet}", soft_wrap=True)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="A network, classifier or fitted exact model that ships.")],
    out: Annotated[Path | None, typer.Option(help="The folder; beside the shipped weights by default.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    device: Annotated[str, typer.Option(help="Where a network trains: cpu or cuda.")] = "cpu",
    steps: Annotated[int | None, typer.Option(help="Steps of a network's training, if not the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step, if not the recipe's.")] = None,
) -> None:
    """Train a shipped model again, with a loss curve and a sample sheet as it goes. Killed, it resumes."""
    import torch

    from scorebench.bench.model_card import draw_sheet, write_card, write_exact_card
    from scorebench.reference_models import classifier, ppca
    from scorebench.reference_models.network import WEIGHTS, load_network
    from scorebench.reference_models.training import recipe_of
    from scorebench.reference_models.training import train as train_network

    torch.set_num_threads(threads)
    folder = out or WEIGHTS / model
    if model in classifier.RECIPES:
        for line in classifier.train_classifier(model, folder):
            console.print(line)
        return
    if model in (ppca.PPCA, ppca.GAUSSIAN):
        for line in (ppca.train_ppca if model == ppca.PPCA else ppca.train_gaussian)(folder):
            console.print(line)
        write_exact_card(model, folder)
        return
    recipe = recipe_of(model, steps, batch)
    with _progress() as progress:
        bar = progress.add_task(f"training {model}", total=recipe.steps)
        for step, total, loss, averaged in train_network(recipe, folder, device=device):
            draw_sheet(averaged.to(torch.float32), folder / "samples.png")
            progress.update(bar, completed=step, description=f"training {model}: loss {loss:.4f}, sheet in {folder}")
            if not console.is_terminal:
                console.print(f"step {step} of {total}, loss {loss:.4f}")
    with console.status("") as status:
        write_card(model, folder, load_network(folder, model), progress=status.update)
    console.print(f"{model}: weights, digest and card in {folder}")


@app.command()
def card(model: Annotated[str, typer.Argument(help="A shipped model.")]) -> None:
    """Draw a shipped model's card again: loss curve, sample sheet, recipe."""
    from scorebench.bench.model_card import write_card, write_exact_card
    from scorebench.reference_models import ppca
    from scorebench.reference_models.addresses import shipped
    from scorebench.reference_models.network import WEIGHTS, load_network

    if model in (ppca.PPCA, ppca.GAUSSIAN):
        write_exact_card(model, WEIGHTS / model)
    else:
        if model not in shipped():
            raise unknown("model with a card", model, [*shipped(), ppca.PPCA, ppca.GAUSSIAN])
        with console.status("") as status:
            write_card(model, WEIGHTS / model, load_network(WEIGHTS / model, model), progress=status.update)
    console.print(f"{model}: card in {WEIGHTS / model}")


@app.command()
def reference(
    model: Annotated[str, typer.Argument(help="A shipped network, with its label and guidance if any.")],
    latents: Annotated[int, typer.Option(help="How many solutions.")] = 512,
    images: Annotated[int, typer.Option(help="How many likelihoods.")] = 32,
) -> None:
    """Recompute the committed reference solutions of a shipped network, in float64, by two methods that must agree."""
    import torch

    from scorebench.bench.references import commit_references
    from scorebench.reference_models.addresses import load_model, shipped
    from scorebench.reference_models.network import NetworkModel

    if model.partition("?")[0] not in shipped():
        raise unknown("network", model, shipped())
    network = load_model(model)
    assert isinstance(network, NetworkModel)
    network.to(torch.float64)
    with torch.no_grad(), console.status("") as status:
        solution, likelihood = commit_references(model, network, status.update, latents, images)
    median, worst = sorted(solution.uncertainty)[len(solution.uncertainty) // 2], solution.uncertainty.max()
    console.print(
        f"{model}: {len(solution.solution)} solutions, the two methods differ by {median:.1e} (median), {worst:.1e} (worst) "
        f"rms per dimension; {len(likelihood.solution)} log-likelihoods, by {likelihood.uncertainty.max():.1e} nats at worst",
        soft_wrap=True,
    )


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
    _facts(lines)


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


def _facts(facts: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
    console.print(table)


def _refuse(message: str) -> NoReturn:
    print(f"scorebench: {message}", file=sys.stderr)
    raise SystemExit(2) from None


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        _refuse(str(error))
    except (typer.Abort, KeyboardInterrupt):
        print("scorebench: interrupted; the same command continues where it stopped", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # how the parser of the command line says what is wrong
            raise
        _refuse(" ".join(error.format_message().split()))
    raise SystemExit(code if isinstance(code, int) else 0)

"""The command that measures what samplers claim: certify."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from scorebench.reference_models.errors import UsageError

from .shared import PluginOption, app, console, load_solvers, progress_bar

# ruff: noqa: B006  (typer reads the defaults; nothing mutates them)
COMMITTED = Path("results/certificates.csv")
HOLDS = {True: "holds", False: "FAILS", None: ""}


@app.command()
def certify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Solver ids, or diffusers:CLASS?flags, k-diffusion:NAME.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every registered solver.")] = False,
    changed: Annotated[
        bool, typer.Option(help="Those whose code differs from what results/certificates.csv measured.")
    ] = False,
    peers: Annotated[bool, typer.Option(help="The released samplers of other libraries that are tabled.")] = False,
    table: Annotated[Path | None, typer.Option(help="Write every verdict to this CSV file.")] = None,
    out: Annotated[Path, typer.Option(help="Where certificates go, as JSON and HTML.")] = Path(
        "results/local/certificates"
    ),
    seed: Annotated[int, typer.Option(help="Of the samples and paths that are followed.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = os.cpu_count() or 1,
    plugin: PluginOption = [],
) -> None:
    """Measure what a sampler claims: orders, cost, end points and more. Exit code 1 when a claim fails."""
    load_solvers(plugin)
    from scorebench.bench.certificates import batch
    from scorebench.reports.certificate import write_card

    wanted = _wanted(names or [], every, changed, peers, plugin)
    found = []
    with progress_bar() as progress:
        bar = progress.add_task("", total=len(wanted))
        for certificate in batch.certify_all(wanted, plugin, workers, seed):
            found.append(certificate)
            write_card(batch.write_json(out, certificate))
            progress.update(bar, advance=1, description=certificate["id"])
            if not console.is_terminal:
                console.print(f"{len(found)} of {len(wanted)}: {certificate['id']}", soft_wrap=True)
    if len(found) == 1:
        _print_one(found[0])
    else:
        _print_many(sorted(found, key=lambda certificate: str(certificate["id"])))
    if table is not None:
        batch.write_table(table, found, keep=not every and not peers)
    console.print(f"certificates in {out}" + (f", table in {table}" if table else ""), soft_wrap=True)
    if not peers and not all(certificate["passed"] for certificate in found):
        raise typer.Exit(1)


def _wanted(names: list[str], every: bool, changed: bool, peers: bool, plugins: list[str]) -> list[str]:
    from scorebench.bench.certificates import batch
    from scorebench.bench.certificates.foreign import foreign
    from scorebench.solvers.facts import SOLVERS
    from scorebench.solvers.registry import find

    wanted = [name if ":" in name else find(name).id for name in names]
    for name in wanted:
        if ":" in name:
            foreign(name)  # so that a wrong address is refused before anything is measured
    if every:
        wanted += list(SOLVERS)
    if changed:
        wanted += batch.changed(COMMITTED)
    if peers:
        wanted += batch.peers()
    if plugins and not wanted:
        wanted = [id for id, info in SOLVERS.items() if info.method.__module__.startswith("scorebench_plugin_")]
    if not wanted and not changed:
        raise UsageError("certify what? name solvers, or give --all, --changed, --peers or --plugin FILE")
    return list(dict.fromkeys(wanted))


def _print_one(certificate: dict[str, Any]) -> None:
    rows = Table("check", "claimed", "measured", "verdict", title=f"{certificate['id']} ({certificate['source']})")
    for verdict in certificate["verdicts"]:
        rows.add_row(verdict["check"], verdict["claimed"], verdict["measured"], HOLDS[verdict["passed"]])
    console.print(rows)
    console.print(f"[b]{certificate['id']}[/b] {certificate['verdict']}", soft_wrap=True)


def _print_many(certificates: list[dict[str, Any]]) -> None:
    rows = Table("sampler", "order", "equals", "verdict")
    for certificate in certificates:
        by_check = {verdict["check"]: verdict for verdict in certificate["verdicts"]}
        orders = [v for name, v in by_check.items() if name.startswith("order")]
        order = (
            f"claims {orders[0]['claimed'] or '–'}, measures {orders[0]['measured'].split(' ')[0]}" if orders else "–"
        )
        same = by_check.get("equals", {"measured": "–"})["measured"]
        rows.add_row(certificate["id"], order, same, certificate["verdict"])
    console.print(rows)

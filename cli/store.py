"""The commands of a store: verify, merge, prune, export, migrate."""

from pathlib import Path
from typing import Annotated

import typer

from scorebench.reference_models.errors import UsageError

from .shared import app, console

group = typer.Typer(no_args_is_help=True, help="Look after a store: verify, merge, prune, export, migrate.")
app.add_typer(group, name="store")
StoreArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The store.")]


@group.command()
def verify(folder: StoreArgument) -> int:
    """Find every file that was cut or changed, to the last bit. Exit code 1 when there is one."""
    from scorebench.bench.store import Store
    from scorebench.bench.upkeep import verify

    found = verify(Store(folder).open_for_reading())
    for name in found.damaged:
        console.print(f"damaged: {name}", soft_wrap=True)
    for name in found.stray:
        console.print(f"stray: {name}, which `scorebench store prune` removes", soft_wrap=True)
    console.print(f"{folder}: {found.cells} cells, {len(found.damaged)} damaged files, {len(found.stray)} strays")
    if found.damaged:
        console.print("no command uses a damaged file: the next run of its suite makes it anew")
    return int(bool(found.damaged))


@group.command()
def merge(
    into: Annotated[Path, typer.Argument(metavar="A", help="The store that grows.")],
    other: Annotated[Path, typer.Argument(metavar="B", help="The store that is copied from, and stays as it is.")],
) -> None:
    """Copy what store A lacks from store B."""
    from scorebench.bench.store import Store
    from scorebench.bench.upkeep import merge

    source = Store(other).open_for_reading()
    merged = merge(Store(into).open_for_writing(), source)
    console.print(
        f"{into}: {merged.new} cells from {other}, {merged.present} were there, "
        f"{merged.damaged} damaged ones stayed out",
        soft_wrap=True,
    )


@group.command()
def prune(
    folder: StoreArgument, dry_run: Annotated[bool, typer.Option(help="Only name what would go.")] = False
) -> None:
    """Remove what no suite of the store lists: cells of older code, leftovers of killed runs, the cache."""
    from scorebench.bench.store import Store
    from scorebench.bench.upkeep import prune

    names = prune(Store(folder).open_for_reading(), dry_run)
    if dry_run:
        for name in names:
            console.print(name, soft_wrap=True)
    console.print(f"{folder}: {len(names)} files {'would go' if dry_run else 'removed'}", soft_wrap=True)


@group.command()
def export(
    folder: StoreArgument,
    out: Annotated[Path, typer.Option(help="A file: .csv, .parquet or .json.")] = Path("rows.csv"),
) -> None:
    """Write every row of a store, one metric a row, to one table."""
    from scorebench.bench.rows import load_rows
    from scorebench.bench.store import Store

    if out.suffix not in (".csv", ".parquet", ".json"):
        raise UsageError(f"export to {out}: name a .csv, .parquet or .json file")
    rows = load_rows(Store(folder).open_for_reading())
    try:
        if out.suffix == ".csv":
            rows.to_csv(out, index=False)
        elif out.suffix == ".parquet":
            rows.to_parquet(out, engine="pyarrow", index=False)
        else:
            rows.to_json(out, orient="records", indent=1)
    except OSError as error:
        raise UsageError(f"export to {out}: {error.strerror or error}") from None
    console.print(f"{out}: {len(rows)} rows of {rows['cell'].nunique()} cells", soft_wrap=True)


@group.command()
def migrate(folder: StoreArgument) -> None:
    """Rewrite a store of an older schema; `run` does so by itself."""
    from scorebench.bench.migration import migrate
    from scorebench.bench.store import SCHEMA, Store

    store = Store(folder)
    migrate(store, lambda line: console.print(line, soft_wrap=True))
    console.print(f"{store.open_for_reading().root} has schema {SCHEMA}", soft_wrap=True)

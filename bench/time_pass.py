"""The time pass of a run: panels of cells that are timed against one another, while no other run on the store times anything."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby

from .cells import Cell
from .measure import Result, cause, skipped, write
from .provenance import machine
from .store import Store
from .timing import anchor_of, failure, time_panel


def panels(cells: list[Cell]) -> Iterator[list[Cell]]:
    """Cells that are timed against one another: of one model and budget."""

    def shared(cell: Cell) -> tuple[str, int]:
        return cell.config["model"], cell.config["budget"] or 0

    for _, group in groupby(sorted(cells, key=shared), key=shared):
        yield list(group)


def measure_times(cells: list[Cell], store: Store) -> None:
    """Time a panel, interleaved; cells whose budget is too small are skipped, those that fail cost themselves."""
    started = datetime.now(UTC)
    able = [cell for cell in cells if not cell.obstacle]
    for cell in cells:
        if cell.obstacle:
            write(cell, store, skipped(cell), started)
    while able:
        try:
            panel, calls = time_panel(able, anchor_of(able[0]))
            break
        except Exception:
            broken = {cell.key: error for cell in able if (error := failure(cell))}
            for cell in able:
                if cell.key in broken:
                    write(cell, store, Result("failed", cause(broken[cell.key])), started)
            if not broken:
                raise
            able = [cell for cell in able if cell.key not in broken]
    for cell, arrays, spent in zip(able, panel, calls, strict=True) if able else ():
        result = Result("ok", "", {"calls": spent} | cell.grid_cost(), arrays)
        write(cell, store, result, started, cell.config["threads"], len(able))


def clock_name() -> str:
    """The claim of the one run that may time on this machine."""
    return f"the clock of {machine()}"


def probe(cell: Cell, store: Store) -> bool:
    """Run a time cell's solve alone, after its panel was lost; whether it went well, its failure written if not."""
    started = datetime.now(UTC)
    if cell.obstacle or (error := failure(cell)) is None:
        return True
    write(cell, store, Result("failed", cause(error)), started)
    return False

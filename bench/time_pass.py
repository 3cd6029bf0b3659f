"""The time pass of a run: panels of cells that are timed against one another, while no other run on the store times anything."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import numpy as np
import torch

from scorebench.reference_models.errors import UsageError

from .cells import Cell, cells_of
from .measure import Result, cause, skipped, write
from .processes import die_with_parent
from .provenance import machine
from .store import Arrays, Store
from .suite import Suite
from .timing import anchor_of, failure, time_panel

Panel = tuple[list[Arrays], list[int]]  # the times of each cell, and the calls of one solve
Prepare = Callable[[], None]


def panels(cells: list[Cell]) -> Iterator[list[Cell]]:
    """Cells that are timed against one another: of one model, batch and budget."""

    def shared(cell: Cell) -> tuple[str, int, int]:
        return cell.config["model"], cell.config["n"], cell.config["budget"] or 0

    for _, group in groupby(sorted(cells, key=shared), key=shared):
        yield list(group)


@dataclass
class Stopwatches:
    """The fresh processes of a run, as many as its suite asks for: each times every panel, one after another.

    They are started with the first panel and wait asleep between two; `prepare` registers plug-ins in them.
    """

    suite: Suite
    root: Path
    prepare: Prepare
    pools: list[ProcessPoolExecutor] = field(default_factory=list)

    def rounds(self, cells: list[Cell]) -> Panel:
        """The rounds of a panel in every process; in this one, where the suite asks for none."""
        if not (processes := cells[0].config["processes"]):
            return time_panel(cells, anchor_of(cells[0]))
        keys, context = [cell.key for cell in cells], multiprocessing.get_context("spawn")
        while len(self.pools) < processes:
            self.pools.append(ProcessPoolExecutor(1, context, initializer=die_with_parent))
        try:
            tasks = (pool.submit(_time_here, self.suite, self.root, self.prepare, keys) for pool in self.pools)
            panels = [task.result() for task in tasks]
        except BaseException:  # a process may be lost: others take their place
            self.stop()
            raise
        arrays = [
            {name: np.concatenate([panel[0][place][name] for panel in panels]) for name in panels[0][0][place]}
            for place in range(len(cells))
        ]
        return arrays, panels[0][1]

    def stop(self) -> None:
        while self.pools:
            self.pools.pop().shutdown(cancel_futures=True)


_cells: dict[str, Cell] = {}  # of a process that times


def _time_here(suite: Suite, root: Path, prepare: Prepare, keys: list[str]) -> Panel:
    if not _cells:
        torch.set_num_threads(1)
        prepare()
        _cells.update({cell.key: cell for cell in cells_of(suite, Store(root))})
    if not _cells.keys() >= set(keys):
        raise UsageError("code that is measured has changed since this run began: start it again")
    panel = [_cells[key] for key in keys]
    return time_panel(panel, anchor_of(panel[0]))


def measure_times(cells: list[Cell], store: Store, stopwatches: Stopwatches) -> None:
    """Time a panel, interleaved; cells whose budget is too small are skipped, those that fail cost themselves."""
    started = datetime.now(UTC)
    able = [cell for cell in cells if not cell.obstacle]
    for cell in cells:
        if cell.obstacle:
            write(cell, store, skipped(cell), started)
    while able:
        try:
            panel, calls = stopwatches.rounds(able)
            break
        except UsageError:
            raise
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

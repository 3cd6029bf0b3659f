"""Runs the cells of a suite that the store lacks, each with its metrics. Interrupted or killed, it continues where it stopped.

Runs on one store, in one process or many, on one machine or on several that share the folder, divide the cells by claims.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .cells import Cell, cells_of
from .claims import FACTS, POLL
from .facts import write_facts, write_interpolations, write_strips
from .measure import measure, settled
from .metrics import Metrics
from .migration import migrate
from .placement import check_device
from .store import Damaged, Json, Store
from .suite import Suite
from .time_pass import Stopwatches, clock_name, measure_times, panels, probe


@dataclass(frozen=True)
class Event:
    """What a run tells who listens: what it does, the cells that this finishes, and those that it has in hand from now on."""

    text: str
    done: tuple[str, ...] = ()
    new: bool = False  # whether those done were measured by this run
    hand: tuple[str, ...] | None = None  # None: as before
    note: bool = False  # a line that must not be lost
    total: int | None = None  # how many cells there are, said first


Tell = Callable[[Event], None]


@dataclass(frozen=True)
class Outcome:
    """How many cells there are, were measured by this run, were skipped and failed."""

    cells: int
    new: int
    skipped: int
    failed: int

    @property
    def reused(self) -> int:
        return self.cells - self.new


def nothing() -> None:
    pass


@dataclass(frozen=True)
class Orders:
    """How to run: `partial` of a suite, with the rest of its cells kept listed; with so many seconds a cell, 0 for any.

    `attempted` cells are left as they are, and those `alone` are tried before they are timed with others: after a crash.
    `prepare`, which can be pickled, registers plug-ins in a new process. `elsewhere`: other machines have the suite's device.
    """

    partial: bool = False
    limit: float = 0.0
    attempted: frozenset[str] = frozenset()
    alone: frozenset[str] = frozenset()
    prepare: Callable[[], None] = nothing
    elsewhere: bool = False


DEFAULT = Orders()


@dataclass
class Run:
    """One run in progress."""

    suite: Suite
    store: Store
    metrics: Metrics
    tell: Tell
    orders: Orders
    new: set[str] = field(default_factory=set)

    def say(self, what: str) -> None:
        self.tell(Event(what))

    def usable(self, cell: Cell) -> Json | None:
        """The kept cell if it stands, arrays and all; None when it must be measured."""
        try:
            kept = self.store.check(cell.key)
        except Damaged:
            return None
        return kept if cell.key in self.orders.attempted or settled(kept, self.orders.limit) else None

    def say_if_damaged(self, cell: Cell) -> None:
        try:
            self.store.check(cell.key)
        except Damaged as damage:
            if self.store.has("cells", cell.key):
                self.tell(Event(f"{damage.path} is damaged: {cell.label()} is measured anew", note=True))

    def finished(self, cell: Cell) -> bool:
        kept = self.usable(cell)
        return kept is not None and (cell.key in self.orders.attempted or self.metrics.current(cell, kept))

    def divide(self, cells: list[Cell]) -> None:
        """Finish every cell that no other run has in hand, then those that the others leave undone."""
        while cells:
            left = [cell for cell in cells if not self._claimed(cell)]
            if len(left) == len(cells):
                self.say("waiting for cells that another run has in hand")
                time.sleep(POLL)
            cells = left

    def _claimed(self, cell: Cell) -> bool:
        if not self.store.claims.take(cell.key):
            return False
        try:
            self.tell(Event(cell.label(), hand=(cell.key,)))
            if self.usable(cell) is None:
                measure(cell, self.store, self.say)
                self.new.add(cell.key)
            self._conclude(cell)
        finally:
            self.store.claims.free(cell.key)
        return True

    def _conclude(self, cell: Cell) -> None:
        self.metrics.update(cell)
        self.tell(Event(cell.label(), done=(cell.key,), new=cell.key in self.new, hand=()))

    def time(self, panel: list[Cell], stopwatches: Stopwatches) -> None:
        """Time a panel when no other run times on this machine; of its cells only those still missing."""
        name = f"time {panel[0].config['model']} at {panel[0].config['budget'] or 'tolerances'}"
        with self.store.claims.hold(clock_name(), lambda: self.say("waiting for another run to time")):
            missing = [cell for cell in panel if self.usable(cell) is None]
            self.new |= {cell.key for cell in missing}
            able = [cell for cell in missing if cell.key not in self.orders.alone or self._runs_alone(cell)]
            self.tell(Event(name, hand=tuple(cell.key for cell in able)))
            measure_times(able, self.store, stopwatches)
            for cell in panel:
                self._conclude(cell)

    def _runs_alone(self, cell: Cell) -> bool:
        self.tell(Event(f"{cell.label()} alone", hand=(cell.key,)))
        return probe(cell, self.store)


def run_suite(suite: Suite, store: Store, tell: Tell = lambda event: None, orders: Orders = DEFAULT) -> Outcome:
    """Finish every cell of a suite, in this process; `tell` hears of each. UsageError before anything is written."""
    run, cells = begin(suite, store, tell, orders)
    finish(run, suite, cells, [cell for cell in cells if not run.finished(cell)])
    return outcome(cells, store, len(run.new))


def begin(suite: Suite, store: Store, tell: Tell, orders: Orders) -> tuple[Run, list[Cell]]:
    """Plan a suite and open its store, which is brought to this schema; UsageError first where its device is missing."""
    if not orders.elsewhere:
        check_device(suite.device)
    cells = cells_of(suite, store)
    tell(Event("", total=len(cells)))
    migrate(store, lambda line: tell(Event(line, note=True)))
    store.open_for_writing()
    return Run(suite, store, Metrics(store, suite.metrics, lambda what: tell(Event(what))), tell, orders), cells


def finish(run: Run, suite: Suite, cells: list[Cell], todo: list[Cell]) -> None:
    """Finish those cells of a suite that are still to do, and write what reports need beside them."""
    store = run.store
    with store.shared():
        with store.claims.hold(FACTS):
            write_facts(suite, store, cells, run.orders.partial)
        for cell in todo:
            run.say_if_damaged(cell)
        ready = {cell.key for cell in cells} - {cell.key for cell in todo}
        run.tell(Event("reusing cells of this store", done=tuple(ready - run.orders.attempted)))
        run.divide([cell for cell in todo if not cell.timed])
        stopwatches = Stopwatches(suite, store.root, run.orders.prepare)
        try:
            for panel in panels([cell for cell in todo if cell.timed]):
                run.time(panel, stopwatches)
        finally:
            stopwatches.stop()
        with store.claims.hold(FACTS):
            write_strips(store, cells, run.say)
            write_interpolations(store, cells, run.say)


def outcome(cells: list[Cell], store: Store, new: int) -> Outcome:
    statuses = [store.cell(cell.key)["status"] for cell in cells]
    return Outcome(len(cells), new, statuses.count("skipped"), statuses.count("failed"))

"""Runs a suite in a process of its own and watches it, so that a crash, a hang or a kill costs the cell in hand alone.

The child does all the work, its writing and claiming too; it tells of every cell that it takes in hand. When it dies, or is
silent for longer than the limit, what it had in hand is written as a failure, and another child goes on. When the watcher
itself dies, the child ends too.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from scorebench.reference_models.errors import UsageError

from .cells import Cell
from .measure import Result, write
from .processes import die_with_parent
from .runner import Event, Orders, Outcome, Run, Tell, begin, finish, outcome, run_suite
from .store import Store
from .suite import Suite

TIME_OUT = "time-out"
GRACE = 5.0  # seconds that an interrupted child may take to leave cleanly


@dataclass(frozen=True)
class Failure:
    """Why a child stopped that had no cell to blame."""

    message: str
    usage: bool


@dataclass
class Watch:
    """What is known of a run: the cells finished or given up, those in hand, and those whose panel was lost."""

    suite: Suite
    run: Run
    attempted: set[str] = field(default_factory=set)
    alone: set[str] = field(default_factory=set)
    hand: tuple[str, ...] = ()
    new: int = 0

    def child(self) -> str | None:
        """Run one child to its end; why it ended early, None when it finished."""
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe(duplex=False)
        orders = replace(self.run.orders, attempted=frozenset(self.attempted), alone=frozenset(self.alone))
        task = (self.suite, self.run.store.root, orders, torch.get_num_threads(), there)
        process = context.Process(target=_work, args=task)
        with _deaf():
            process.start()
        there.close()
        try:
            return self._follow(here) or _death(process)
        finally:
            _end(process)
            here.close()

    def _follow(self, pipe: Connection) -> str | None:
        """Hear a child out; None when it has ended by itself."""
        limit = self.run.orders.limit
        while pipe.poll(limit * len(self.hand) or None):  # nothing in hand: it starts, or it ends
            try:
                message = pipe.recv()
            except EOFError:
                return None
            if isinstance(message, Failure):
                raise UsageError(message.message) if message.usage else RuntimeError(message.message)
            self.hand = self.hand if message.hand is None else message.hand
            self.attempted |= set(message.done)
            self.new += len(message.done) if message.new else 0
            self.run.tell(message)
        return f"{TIME_OUT}: not finished in {limit:g} s"

    def give_up(self, cells: dict[str, Cell], why: str) -> None:
        """Write what a lost child had in hand as failed; of a panel, first let the next child find the guilty cell."""
        if not self.hand:
            raise UsageError(f"the run ended with no cell in hand: {why}")
        if len(self.hand) > 1 and not self.alone.issuperset(self.hand):
            self.alone |= set(self.hand)
        else:
            for key in self.hand:
                self._fail(cells[key], why)
        self.hand = ()

    def _fail(self, cell: Cell, why: str) -> None:
        self.attempted.add(cell.key)
        store = self.run.store
        if not store.claims.take(cell.key):
            return  # another run has taken it over
        if (kept := self.run.usable(cell)) is not None:  # it was measured: its metrics were lost
            self.run.metrics.write(cell, kept, [], [], f"metrics: {why}")
        else:
            counts = {"limit": self.run.orders.limit} if why.startswith(TIME_OUT) else {}
            write(cell, store, Result("failed", why, counts), datetime.now(UTC))
        store.claims.free(cell.key)
        self.new += 1
        self.run.tell(Event(f"{cell.label()}: {why}", done=(cell.key,), new=True, hand=(), note=True))


def run_watched(suite: Suite, store: Store, tell: Tell, orders: Orders) -> Outcome:
    """As `run_suite`, with every cell's fate its own."""
    run, cells = begin(suite, store, tell, orders)
    if all(run.finished(cell) for cell in cells):
        finish(run, suite, cells, [])
        return outcome(cells, store, 0)
    watch = Watch(suite, run, set(orders.attempted))
    while (why := watch.child()) is not None:
        watch.give_up({cell.key: cell for cell in cells}, why)
    return outcome(cells, store, watch.new)


def _work(suite: Suite, root: Path, orders: Orders, threads: int, pipe: Connection) -> None:
    """The child: interrupted by SIGTERM alone, it drops the cell in hand."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    die_with_parent()
    torch.set_num_threads(threads)
    try:
        orders.prepare()
        run_suite(suite, Store(root), pipe.send, orders)
    except KeyboardInterrupt:
        os._exit(130)
    except UsageError as error:
        _fail(pipe, Failure(str(error), usage=True))
    except Exception:
        _fail(pipe, Failure(traceback.format_exc(), usage=False))


def _fail(pipe: Connection, failure: Failure) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends anyway, and quietly
    pipe.send(failure)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes started meanwhile ignore Ctrl-C, from their first moment on: the watcher hears it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _death(process: multiprocessing.process.BaseProcess) -> str | None:
    """How a child that went silent ended; None when it finished."""
    process.join()
    code = process.exitcode or 0
    if code == 0:
        return None
    if code == -signal.SIGKILL:
        return "crashed: SIGKILL, with which the system frees memory when it runs out"
    return f"crashed: {signal.Signals(-code).name}" if code < 0 else f"crashed: exit code {code}"


def _end(process: multiprocessing.process.BaseProcess) -> None:
    """Stop a child: asked first, then killed, as a hung one must be."""
    if process.is_alive():
        process.terminate()
        process.join(GRACE)
    if process.is_alive():
        process.kill()
        process.join()

"""The tasks of a run on Ray: what a worker does with one, and who hands them out."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from scorebench.reference_models.errors import UsageError

from . import blocks
from .cells import cells_of
from .measure import kept_block
from .metrics import Metrics
from .runner import DEFAULT, Orders, Run
from .store import Store, Unwritable, write_whole
from .suite import Suite
from .watched import TIME_OUT

ATTEMPTS = 3  # of a cell whose worker is lost
AHEAD = 2  # tasks in hand for each CPU, so that none waits for the driver to write
Files = dict[str, bytes]  # by their names in the store


@dataclass(frozen=True)
class Job:
    """What all tasks of one run share; `session` names it."""

    suite: Suite
    orders: Orders
    session: str

    @property
    def scratch(self) -> Path:
        """The folder of a node in which its workers measure."""
        return Path(tempfile.gettempdir()) / f"scorebench-{self.session}"


@dataclass(frozen=True)
class Task:
    """A cell, or a block of a large one."""

    key: str
    rows: slice | None = None


class Desk:
    """Where one worker process measures a job's cells: the folder of its node, with the references of the driver's store."""

    def __init__(self, job: Job, references: Files) -> None:
        torch.set_num_threads(1)
        job.orders.prepare()
        self.store = Store(job.scratch).open_for_writing()
        self.take(references)
        self.known = set(references)
        self.cells = {cell.key: cell for cell in cells_of(job.suite, self.store)}
        self.run = Run(job.suite, self.store, Metrics(self.store, job.suite.metrics), lambda event: None, DEFAULT)

    def measure(self, task: Task) -> Files:
        """The files of one task and of references made since the last, in the order in which to write them."""
        cell, names = (
            self.cells[task.key],
            [f"cells/{task.key}.npz", f"cells/{task.key}.json", f"metrics/{task.key}.json"],
        )
        if task.rows is None:
            self.run.divide([cell])
        else:
            names = [blocks.name(task.key, task.rows)]
            try:
                kept_block(cell, task.rows, self.store, lambda _: None)
            except Unwritable:
                raise
            except Exception:  # the last task meets it again, and makes a row of it
                pass
        made = set(references_in(self.store)) - self.known
        self.known |= made
        present = [name for name in (*sorted(made), *names) if (self.store.root / name).is_file()]
        return {name: (self.store.root / name).read_bytes() for name in present}

    def take(self, files: Files) -> None:
        """Keep files that other workers made."""
        for name, content in files.items():
            if not (self.store.root / name).exists():
                write_whole(self.store.root / name, content)


_desks: dict[str, Desk] = {}


def _measure(job: Job, references: list[Any], task: Task, parts: Files) -> Iterator[Files | None]:
    """One task: None when it begins to measure, then the files. `references` holds the handle of those fetched once.

    `parts` are the blocks of a cell that are there already.
    """
    import ray

    if job.session not in _desks:
        _desks.clear()
        _desks[job.session] = Desk(job, ray.get(references[0]))
    _desks[job.session].take(parts)
    yield None
    yield _desks[job.session].measure(task)


@dataclass
class Crew:
    """Hands out tasks, as many at once as the cluster has room for, and yields what comes back."""

    job: Job
    limit: float
    references: Any
    store: Store
    waiting: list[Task]
    handed: dict[Any, Task] = field(default_factory=dict)
    since: dict[Any, float] = field(default_factory=dict)  # when a task began to measure
    attempts: dict[str, int] = field(default_factory=dict)
    blocks: Counter[str] = field(init=False)  # that are still to come, of each cell

    def __post_init__(self) -> None:
        self.blocks = Counter(task.key for task in self.waiting if task.rows is not None)

    def results(self) -> Iterator[tuple[Task, Files | str]]:
        """(task, its files, or why there are none) as they come; what comes is written before the next is asked for."""
        import ray

        gpus = int(self.job.suite.device == "cuda")
        remote = ray.remote(max_retries=0, num_cpus=1, num_gpus=gpus, num_returns="streaming")(_measure)
        while self.waiting or self.handed:
            slots = max(int(ray.cluster_resources().get("GPU" if gpus else "CPU", 0)), 1)
            while len(self.handed) < AHEAD * slots and (task := self._next()) is not None:
                parts = self._parts(task) if task.rows is None else {}
                self.handed[remote.remote(self.job, [self.references], task, parts)] = task
            done, _ = ray.wait(list(self.handed), num_returns=1, timeout=1.0)
            for handle in done:
                yield from self._come_back(handle)
            for handle in [h for h in self.handed if self._late(h)]:
                ray.cancel(handle, force=True)
                yield self.handed.pop(handle), f"{TIME_OUT}: not finished in {self.limit:g} s"

    def _next(self) -> Task | None:
        """The first task that waits for no blocks."""
        for place, task in enumerate(self.waiting):
            if task.rows is not None or not self.blocks[task.key]:
                return self.waiting.pop(place)
        return None

    def _parts(self, task: Task) -> Files:
        return {f"parts/{path.name}": path.read_bytes() for path in self.store.root.glob(f"parts/{task.key}-*.npz")}

    def forget(self, key: str) -> None:
        """Hand out no more of a cell that has failed."""
        self.waiting = [task for task in self.waiting if task.key != key]

    def _late(self, handle: Any) -> bool:
        return 0 < self.limit < time.monotonic() - self.since.get(handle, float("inf"))

    def _come_back(self, handle: Any) -> Iterator[tuple[Task, Files | str]]:
        import ray

        task = self.handed.pop(handle)
        try:
            found = ray.get(next(handle))
            if found is None:
                self.handed[handle], self.since[handle] = task, time.monotonic()
            else:
                self.blocks[task.key] -= int(task.rows is not None)
                yield task, found
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, Unwritable):
                raise UsageError(f"on a worker: {error.cause}") from None
            raise
        except ray.exceptions.RayError as error:  # the worker or its node was lost
            self.attempts[str(task)] = self.attempts.get(str(task), 0) + 1
            if self.attempts[str(task)] < ATTEMPTS:
                self.waiting.append(task)
            else:
                yield task, f"crashed: worker lost {ATTEMPTS} times ({type(error).__name__})"


def references_in(store: Store) -> list[str]:
    return sorted(p.relative_to(store.root).as_posix() for p in store.root.glob("references/[!.]*.npz"))

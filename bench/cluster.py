"""Runs the quality cells of a suite on a Ray cluster, wherever there is room; what workers find comes back to the one store.

A task is a cell, of one CPU and one thread. A worker measures it in a folder of its node, which keeps what its next cells
need, references above all, and returns the files; the driver writes them. So no folder need be shared, and a lost worker
costs another attempt. Cells that are timed run afterwards on the driver's node, of which Ray then holds every CPU for them.
"""

import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from scorebench.reference_models.errors import UsageError

from .cells import Cell, cells_of
from .measure import Result, write
from .metrics import Metrics
from .runner import DEFAULT, Event, Orders, Outcome, Run, Tell, begin
from .store import Store, Unwritable, write_whole
from .suite import Suite
from .watched import TIME_OUT, run_watched

LOCAL = "local"
ATTEMPTS = 3  # of a cell whose worker is lost
AHEAD = 2  # tasks in hand for each CPU, so that none waits for the driver to write
Files = dict[str, bytes]


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


class Desk:
    """Where one worker process measures a job's cells: the folder of its node, with the references of the driver's store."""

    def __init__(self, job: Job, references: Files) -> None:
        torch.set_num_threads(1)
        job.orders.prepare()
        self.store = Store(job.scratch).open_for_writing()
        for name, content in references.items():
            if not (job.scratch / name).exists():
                write_whole(job.scratch / name, content)
        self.known = set(references)
        self.cells = {cell.key: cell for cell in cells_of(job.suite, self.store)}
        self.run = Run(job.suite, self.store, Metrics(self.store, job.suite.metrics), lambda event: None, DEFAULT)

    def measure(self, key: str) -> Files:
        """The files of one cell and of references made since the last, in the order in which to write them."""
        self.run.divide([self.cells[key]])
        made = set(_references(self.store)) - self.known
        self.known |= made
        names = [*sorted(made), f"cells/{key}.npz", f"cells/{key}.json", f"metrics/{key}.json"]
        return {name: (self.store.root / name).read_bytes() for name in names}


_desks: dict[str, Desk] = {}


def _measure(job: Job, references: list[Any], key: str) -> Files:
    """One task. `references` holds the handle of the files, which a worker fetches once."""
    import ray

    if job.session not in _desks:
        _desks.clear()
        _desks[job.session] = Desk(job, ray.get(references[0]))
    return _desks[job.session].measure(key)


@dataclass
class Crew:
    """Hands out cells, as many at once as the cluster has room for, and yields what comes back."""

    job: Job
    limit: float
    references: Any
    waiting: list[str]
    handed: dict[Any, str] = field(default_factory=dict)  # in the order of handing out
    since: dict[Any, float] = field(default_factory=dict)  # when a task can have begun
    attempts: dict[str, int] = field(default_factory=dict)

    def results(self) -> Iterator[tuple[str, Files | str]]:
        """(key, its files, or why there are none) as they come."""
        import ray

        task = ray.remote(max_retries=0, num_cpus=1)(_measure)
        while self.waiting or self.handed:
            slots = max(int(ray.cluster_resources().get("CPU", 0)), 1)
            while self.waiting and len(self.handed) < AHEAD * slots:
                key = self.waiting.pop(0)
                self.handed[task.remote(self.job, [self.references], key)] = key
            for handle in list(self.handed)[:slots]:
                self.since.setdefault(handle, time.monotonic())
            done, _ = ray.wait(list(self.handed), num_returns=1, timeout=1.0)
            for handle in done:
                yield from self._come_back(handle)
            for handle in [h for h in self.handed if self._late(h)]:
                ray.cancel(handle, force=True)
                yield self.handed.pop(handle), f"{TIME_OUT}: not finished in {self.limit:g} s"

    def _late(self, handle: Any) -> bool:
        return 0 < self.limit < time.monotonic() - self.since.get(handle, float("inf"))

    def _come_back(self, handle: Any) -> Iterator[tuple[str, Files | str]]:
        import ray

        key = self.handed.pop(handle)
        try:
            yield key, ray.get(handle)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, Unwritable):
                raise UsageError(f"on a worker: {error.cause}") from None
            raise
        except ray.exceptions.RayError as error:  # the worker or its node was lost
            self.attempts[key] = self.attempts.get(key, 0) + 1
            if self.attempts[key] < ATTEMPTS:
                self.waiting.append(key)
            else:
                yield key, f"crashed: worker lost {ATTEMPTS} times ({type(error).__name__})"


def run_on_ray(suite: Suite, store: Store, tell: Tell, orders: Orders, address: str) -> Outcome:
    """As `run_watched`, quality cells on the cluster at `address`, or on this machine's CPUs: "local", "local:2".

    Files of plug-ins must be there on every worker. UsageError where there is no Ray or no cluster.
    """
    with connected(address):  # first: where there is no cluster, nothing is written
        run, cells = begin(suite, store, tell, orders)
        left = [cell for cell in cells if not run.finished(cell)]
        todo = [cell for cell in left if not cell.timed]
        new = _spread(run, Job(suite, orders, secrets.token_hex(8)), todo) if todo else set[str]()
        with _whole_node() if len(todo) < len(left) else nullcontext():
            rest = run_watched(suite, store, tell, replace(orders, attempted=frozenset(new)))
    return Outcome(rest.cells, rest.new + len(new), rest.skipped, rest.failed)


def _spread(run: Run, job: Job, cells: list[Cell]) -> set[str]:
    """Measure cells on the cluster, those apart that another run has in hand; which came to an end."""
    import ray

    store, mine, ended = run.store, {cell.key: cell for cell in cells}, set[str]()
    with store.shared():
        claimed = [cell.key for cell in cells if store.claims.take(cell.key)]
        references = ray.put({name: (store.root / name).read_bytes() for name in _references(store)})
        crew = Crew(job, run.orders.limit, references, claimed)
        try:
            for key, found in crew.results():
                if isinstance(found, str):
                    counts = {"limit": run.orders.limit} if found.startswith(TIME_OUT) else {}
                    write(mine[key], store, Result("failed", found, counts), datetime.now(UTC))
                else:
                    for name, content in found.items():
                        write_whole(store.root / name, content)
                store.claims.free(key)
                ended.add(key)
                run.tell(Event(mine[key].label(), done=(key,), new=True))
        finally:
            for key in claimed:
                store.claims.free(key)
            _sweep(job)
    return ended


def _references(store: Store) -> list[str]:
    return sorted(p.relative_to(store.root).as_posix() for p in store.root.glob("references/[!.]*.npz"))


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Ray, for the time of a run."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # measuring is what the machine is for
    try:
        import ray
    except ImportError:
        raise UsageError("--ray needs Ray, which is not installed: pip install 'scorebench[ray]'") from None
    name, _, workers = address.partition(":") if address.startswith(LOCAL) else (address, "", "")
    if name == LOCAL:
        if workers and not (workers.isdecimal() and int(workers)):
            raise UsageError(f"--ray {address!r}: give a number of workers, as in local:2")
        cpus = int(workers) if workers else None
        ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    else:
        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            hint = "; a cluster that asks for a token needs RAY_AUTH_MODE=token here" if "Ray cluster" in reason else ""
            raise UsageError(
                f"no Ray cluster at {address!r} ({reason}{hint}); for this machine alone: --ray local"
            ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """OSError where nobody answers at HOST:PORT: Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _whole_node() -> Iterator[None]:
    """Every CPU of the driver's node for what the driver itself does, which is to time."""
    import ray
    from ray.util import placement_group, remove_placement_group

    here = ray.get_runtime_context().get_node_id()
    node = next(node for node in ray.nodes() if node["NodeID"] == here)
    bundle = {f"node:{node['NodeManagerAddress']}": 0.001, "CPU": node["Resources"].get("CPU", 0)}
    group = placement_group([{name: amount for name, amount in bundle.items() if amount}])
    try:
        ray.get(group.ready())
        yield
    finally:
        remove_placement_group(group)


def _sweep(job: Job) -> None:
    """Remove the job's folder on every node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remove = ray.remote(num_cpus=0)(_remove)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    strategies = [NodeAffinitySchedulingStrategy(node, soft=False) for node in nodes]
    handles = [remove.options(scheduling_strategy=s).remote(job.scratch) for s in strategies]
    ray.wait(handles, num_returns=len(handles), timeout=10)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)

"""Runs the quality cells of a suite on a Ray cluster, wherever there is room; what workers find comes back to the one store.

A task is a cell, or a block of a large one whose last task merges them, of one CPU and one thread, and of one GPU where the
suite's device is one: the driver needs none, unless it times. A worker measures it in a
folder of its node, which keeps what its next cells need, references above all, and returns the files; the driver writes them.
So no folder need be shared, and a lost worker costs another attempt. Cells that are timed run afterwards on the driver's node,
of which Ray then holds every CPU for them.
"""

import logging
import math
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from scorebench.reference_models.errors import UsageError

from . import blocks
from .cells import Cell
from .crew import Crew, Job, Task, references_in
from .measure import Result, write
from .placement import check_device
from .runner import Event, Orders, Outcome, Run, Tell, begin
from .store import Store, write_whole
from .suite import Suite
from .watched import TIME_OUT, run_watched

LOCAL = "local"


def run_on_ray(suite: Suite, store: Store, tell: Tell, orders: Orders, address: str) -> Outcome:
    """As `run_watched`, quality cells on the cluster at `address`, or on this machine's CPUs: "local", "local:2".

    Files of plug-ins must be there on every worker. UsageError where there is no Ray or no cluster.
    """
    with connected(address):  # first: where there is no cluster, nothing is written
        check_room(suite, address)
        orders = replace(orders, elsewhere=True)
        run, cells = begin(suite, store, tell, orders)
        left = [cell for cell in cells if not run.finished(cell)]
        todo = [cell for cell in left if not cell.timed]
        new = _spread(run, Job(suite, orders, secrets.token_hex(8)), todo) if todo else set[str]()
        with _whole_node() if len(todo) < len(left) else nullcontext():
            rest = run_watched(suite, store, tell, replace(orders, attempted=frozenset(new)))
    return Outcome(rest.cells, rest.new + len(new), rest.skipped, rest.failed)


def check_room(suite: Suite, address: str) -> None:
    """UsageError where the cluster, or this node for what is timed, lacks the suite's device."""
    import ray

    if suite.device == "cpu":
        return
    if not ray.cluster_resources().get("GPU", 0):
        raise UsageError(f"device {suite.device}: the Ray cluster at {address!r} has no GPU; or run with --device cpu")
    if suite.timing is not None:
        check_device(suite.device)


def _spread(run: Run, job: Job, cells: list[Cell]) -> set[str]:
    """Measure cells on the cluster, those apart that another run has in hand; which came to an end."""
    import ray

    store, mine, ended = run.store, {cell.key: cell for cell in cells}, set[str]()
    with store.shared():
        claimed = [cell.key for cell in cells if store.claims.take(cell.key)]
        references = ray.put({name: (store.root / name).read_bytes() for name in references_in(store)})
        tasks = [task for cell in in_turn([mine[key] for key in claimed]) for task in _tasks(cell, store)]
        crew = Crew(job, run.orders.limit, references, store, tasks)
        try:
            for task, found in crew.results():
                key = task.key
                if key in ended:
                    continue  # a block of a cell that has failed meanwhile
                if isinstance(found, str):
                    counts = {"limit": run.orders.limit} if found.startswith(TIME_OUT) else {}
                    write(mine[key], store, Result("failed", found, counts), datetime.now(UTC))
                    crew.forget(key)
                else:
                    for name, content in found.items():
                        write_whole(store.root / name, content)
                    if task.rows is not None:
                        continue
                blocks.drop(key, store)
                store.claims.free(key)
                ended.add(key)
                run.tell(Event(mine[key].label(), done=(key,), new=True))
        finally:
            for key in claimed:
                store.claims.free(key)
            _sweep(job)
    return ended


def in_turn(cells: list[Cell]) -> list[Cell]:
    """First one of each model and pass, whose reference the others take, then the costly: none waits at the end."""
    firsts = {
        (cell.config["model"], cell.config["pass"]): cell for cell in reversed(cells) if cell.config["kind"] == "ode"
    }
    keys = {cell.key for cell in firsts.values()}
    return sorted(cells, key=lambda cell: (cell.key in keys, _cost(cell)), reverse=True)


def _cost(cell: Cell) -> float:
    """Numbers that go through the network, about."""
    config = cell.config
    return float(config["n"] * (config["budget"] or 50) * config.get("noise_seeds", 1) * math.prod(cell.model.shape))


def _tasks(cell: Cell, store: Store) -> list[Task]:
    """A cell, after those blocks of a large one that the store lacks."""
    rows = blocks.of(cell.config["n"]) if cell.config["pass"] == "sample" and not cell.obstacle else []
    lacking = [block for block in rows if not (store.root / blocks.name(cell.key, block)).is_file()]
    return [*(Task(cell.key, block) for block in lacking if len(rows) > 1), Task(cell.key)]


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

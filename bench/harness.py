"""What a run spends beside what it measures: `python -m scorebench.bench.harness SUITE` runs a suite anew and says so.

CPU time of this process, its start included, by what it was spent on: solving (the network and the solver), timing the same,
metrics, and the rest, which is the harness. Fresh processes that time, of suites that ask for them, have a line of their own.
"""

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from scorebench.reference_models.errors import UsageError

from . import facts, measure, optimised_grids, references, time_pass
from .metrics import Metrics
from .runner import run_suite
from .store import Store
from .suite import load_suite

SOLVING, TIMING, METRICS, HARNESS = "solving", "timing", "metrics", "harness"
KINDS: dict[tuple[Any, str], str] = {
    (measure, "solve"): SOLVING,
    (measure, "log_likelihood"): SOLVING,
    (measure, "round_trip"): SOLVING,
    (references, "solve"): SOLVING,
    (references, "log_likelihood"): SOLVING,
    (optimised_grids, "teacher"): SOLVING,
    (facts, "interpolations"): SOLVING,
    (time_pass, "time_panel"): TIMING,
    (Metrics, "update"): METRICS,
}


class Stopwatch:
    """CPU seconds by kind; what is called inside a kind belongs to that kind."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.running = False

    def timed(self, kind: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def run(*arguments: Any, **keywords: Any) -> Any:
            if self.running:
                return work(*arguments, **keywords)
            self.running, start = True, time.process_time()
            try:
                return work(*arguments, **keywords)
            finally:
                self.spent[kind] += time.process_time() - start
                self.running = False

        return run


def spent_on(suite: str, root: Path) -> dict[str, float]:
    """CPU seconds of a run of that suite into an empty folder, by what they were spent on."""
    watch = Stopwatch()
    with ExitStack() as stack:
        for (owner, name), kind in KINDS.items():
            stack.enter_context(patch.object(owner, name, watch.timed(kind, getattr(owner, name))))
        run_suite(load_suite(suite), Store(root))
    return dict(watch.spent) | {HARNESS: time.process_time() - sum(watch.spent.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", nargs="?", default="quick")
    suite = parser.parse_args().suite
    try:
        load_suite(suite)
    except UsageError as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        spent = spent_on(suite, Path(folder) / "store")
    clock = os.times()
    total = sum(spent.values())
    for kind, seconds in spent.items():
        print(f"{kind:24} {seconds:8.1f} s {seconds / total:7.1%}")
    print(f"{'processes that time':24} {clock.children_user + clock.children_system:8.1f} s beside these")


if __name__ == "__main__":
    main()

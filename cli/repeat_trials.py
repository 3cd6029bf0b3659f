"""Is a run the same twice? `python -m scorebench.cli.repeat_trials [FOLDER] [--suite quick] [--busy 1]`

A suite is run into two stores, beside processes that only burn time, and the two are compared as `scorebench compare` does. The
CPU times of its solves, in their own network calls and in milliseconds, are printed as ratios of the second run to
the first. Exit code 1 where one of the former lies outside 0.95 to 1.05, or where the comparison finds anything.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from scorebench.bench.revisions import Revision, checkout
from scorebench.bench.suite import load_suite
from scorebench.reference_models.errors import UsageError
from scorebench.reports.compare.comparison import compare
from scorebench.reports.compare.side import CELL, Side, read

LOW, HIGH = 0.95, 1.05
TIMES = {"time_in_calls": "in network calls", "cpu_ms": "in milliseconds"}


@contextmanager
def load(processes: int) -> Iterator[None]:
    """So many processes that burn time meanwhile."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def ratios(first: Side, second: Side, metric: str) -> np.ndarray:
    """The second run's times over the first's, of every cell that both timed, ascending."""
    was, now = (side.rows[side.rows["metric"] == metric][[*CELL, "threads", "value"]] for side in (first, second))
    both = was.merge(now, on=[*CELL, "threads"], suffixes=("", " new"))
    return np.sort((both["value new"] / both["value"]).to_numpy(dtype=float))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="results/local/repeat-trials")
    parser.add_argument("--suite", default="quick")
    parser.add_argument("--busy", type=int, default=1)
    chosen = parser.parse_args()
    try:
        load_suite(chosen.suite)
    except UsageError as error:
        parser.error(str(error))
    runs = [Revision(f"run {k}", checkout(), Path(chosen.folder).resolve() / str(k)) for k in (1, 2)]
    with load(chosen.busy):
        first, second = (read(str(run.measure(chosen.suite, [], print))) for run in runs)
    found = compare(first, second)
    for metric, unit in TIMES.items():
        r = ratios(first, second, metric)
        within = np.mean((r >= LOW) & (r <= HIGH))
        print(f"CPU times {unit}: {len(r)} ratios from {r[0]:.3f} to {r[-1]:.3f}, median {np.median(r):.3f}, ", end="")
        print(f"{within:.0%} within {LOW} to {HIGH}")
    for finding in found.findings:
        print(finding)
    print(found.summary())
    steady = ratios(first, second, "time_in_calls")
    return int(bool(found.findings) or not (LOW <= steady[0] and steady[-1] <= HIGH))


if __name__ == "__main__":
    sys.exit(main())

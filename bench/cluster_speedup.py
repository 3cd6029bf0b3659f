"""Two workers against one: `python -m scorebench.bench.cluster_speedup` runs quality cells of `standard` on Ray both ways.

The time is that of the cells and their references, from the first cell's begin to the last one's end, so that Ray's own start is
none of it; both stores must hold the same numbers, to the last bit.
"""

import argparse
import tempfile
from datetime import datetime
from pathlib import Path

from .cluster import run_on_ray
from .runner import DEFAULT
from .store import Store
from .suite import Suite, load_suite

MODELS = ["exact:gmm", "exact:ppca-fashion", "digits-vp"]


def part(budget: int) -> Suite:
    """Sample cells of `standard` on three models at one budget, by the solvers that `quick` has too."""
    solvers = list(dict.fromkeys(entry.id for entry in load_suite("quick").solvers))
    chosen = load_suite("standard").select(MODELS, solvers, [budget], [])
    return chosen.model_copy(update={"likelihood": None, "round_trip": None, "timing": None})


def seconds(suite: Suite, root: Path, workers: int) -> float:
    """From the first cell's begin to the last one's end, to a second."""
    store = Store(root)
    outcome = run_on_ray(suite, store, lambda event: None, DEFAULT, f"local:{workers}")
    if outcome.failed:
        raise SystemExit(f"{outcome.failed} cells failed on {workers} workers")
    origins = [store.cell(key)["provenance"] for key in store.keys("cells")]
    begins = [datetime.fromisoformat(origin["started"]).timestamp() for origin in origins]
    return max(begin + float(origin["seconds"]) for begin, origin in zip(begins, origins, strict=True)) - min(begins)


def differences(first: Store, second: Store) -> int:
    """How many cells the two stores do not share, or whose arrays differ."""
    keys = set(first.keys("cells")) ^ set(second.keys("cells"))
    both = set(first.keys("cells")) - keys
    return len(keys) + len([key for key in both if first.cell(key)["npz_sha256"] != second.cell(key)["npz_sha256"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=int, default=10)
    suite = part(parser.parse_args().budget)
    with tempfile.TemporaryDirectory() as folder:
        times = {workers: seconds(suite, Path(folder) / str(workers), workers) for workers in (1, 2)}
        stores = [Store(Path(folder) / str(workers)) for workers in times]
        wrong, cells = differences(*stores), len(stores[0].keys("cells"))
    print(f"{cells} cells: one worker {times[1]:.1f} s, two {times[2]:.1f} s, {times[1] / times[2]:.2f} times as fast")
    if wrong:
        raise SystemExit(f"{wrong} cells differ")


if __name__ == "__main__":
    main()

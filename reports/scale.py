"""How long a report takes, and how much memory: `python -m scorebench.reports.scale [ROWS]`.

Fills a store with synthetic cells, like those that a run writes, until it holds so many rows (20,000), writes its report in
a process of its own and prints that process's seconds and largest memory; exit code 1 beyond the limits.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

from scorebench.bench.rows import load_rows
from scorebench.bench.store import SCHEMA, Arrays, Json, Store, digest_of, key_of, sealed_json, sealed_npz

ROWS, SECONDS, GIGABYTES = 20_000, 20.0, 1.5
SOLVERS, BUDGETS, SAMPLES, GROUPS = 60, (5, 8, 10, 15, 20, 25, 35, 50), 512, 20
DISTANCES = ("fid", "fid_corrected", "excess_fid", "kid", "moments_frechet")
TIMES = {"time_ms": 5.0, "cpu_ms": 4.8, "time_ratio": 1.0, "overhead_ms": 0.7}
WRITE = "import sys; from pathlib import Path; from scorebench.reports.report import write_report; " + (
    "write_report(Path(sys.argv[1]), Path(sys.argv[2]))"
)


def fill(root: Path, rows: int) -> int:
    """Fill a store with at least so many rows, of as many models as that takes; returns how many there are."""
    write(root, "store.json", sealed_json({"schema": SCHEMA}))
    keys, written, models = list[str](), 0, list[str]()
    while written < rows:
        models.append(f"synthetic-{len(models)}")
        for config, measured, arrays, replicates in cells(models[-1]):
            key = key_of(config)
            write_cell(root, key, config, measured, arrays, replicates)
            keys.append(key)
            written += len(measured)
    write(root, "suites/scale.json", sealed_json({"name": "scale", "config": {}, "cells": keys}))
    facts = {name: {"id": name, "kind": "ode", "order": 2, "calls_per_step": 1, "reference": None} for name in names()}
    write(root, "solvers.json", sealed_json({"solvers": facts}))
    known = {"process": "vp", "digest": "ab" * 32, "data": None, "shape": [1, 8, 8], "features": "none"}
    write(root, "models.json", sealed_json({"models": dict.fromkeys(models, known)}))
    return written


def names() -> list[str]:
    return [f"solver-{place}" for place in range(SOLVERS)]


def cells(model: str) -> Iterator[tuple[Json, list[Json], Arrays, dict[str, list[float]]]]:
    """(configuration, rows, arrays, replicates) of each cell of a model: quality at every budget, time at every other."""
    rng = np.random.default_rng(int(key_of(model), 16))
    common = rng.lognormal(0, 0.5, SAMPLES)
    for (place, solver), budget in product(enumerate(names()), BUDGETS):
        config = {
            "pass": "sample", "model": model, "model_digest": "ab" * 32, "process": "vp", "solver": solver, "options": {},
            "kind": "ode", "eta": 0.0, "grid": "logsnr", "budget": budget, "dtype": "float32", "n": SAMPLES, "seed": 0,
        }  # fmt: skip
        size = (0.2 + 0.1 * place) * (5 / budget) ** (1 + place % 3)
        error = size * common * rng.lognormal(0, 0.1, SAMPLES)
        rows = [row("error_median", float(np.median(error))), row("error_p90", float(np.quantile(error, 0.9)))]
        rows += [row(name, 0.1 + size, features="none", floor=0.09) for name in DISTANCES]
        replicates = {f"{name}[none]": (0.1 + size + 1e-3 * rng.normal(size=GROUPS)).tolist() for name in DISTANCES}
        yield config, rows, {"index": np.arange(SAMPLES), "error": error}, replicates
        if budget % 10 == 0:
            times = [row(name, value * budget * rng.uniform(0.9, 1.1)) for name, value in TIMES.items()]
            yield config | {"pass": "time", "n": 16}, times, {}, {}


def row(metric: str, value: float, features: str | None = None, floor: float | None = None) -> Json:
    """A metric's row with an interval of 2 % to either side."""
    below = {} if floor is None else {"floor": floor, "floor_low": 0.9 * floor, "floor_high": 1.1 * floor}
    ends = {"value": value, "low": 0.98 * value, "high": 1.02 * value}
    return {"metric": metric, "features": features, "unit": ""} | ends | below


def write_cell(root: Path, key: str, config: Json, rows: list[Json], arrays: Arrays, replicates: Json) -> None:
    """As a run does, but for the waiting until the disk has it."""
    spent = config["budget"]
    counts = {"nfe_mean": float(spent), "nfe_max": spent, "calls": spent, "vjps": 0, "jvps": 0, "flops": 1e6 * spent}
    provenance = {
        "device": "cpu", "threads": 1, "commit": "none", "package_version": "0", "torch_version": "0", "machine": "none",
        "started": "2026-01-01T00:00:00+00:00", "seconds": 0.1,
    }  # fmt: skip
    content = sealed_npz(arrays)
    cell = {"key": key, "config": config, "counts": counts, "provenance": provenance, "status": "ok", "message": ""}
    write(root, f"cells/{key}.npz", content)
    write(root, f"cells/{key}.json", sealed_json(cell | {"npz_sha256": digest_of(content)}))
    write(root, f"metrics/{key}.json", sealed_json({"rows": rows, "replicates": replicates, "message": ""}))


def write(root: Path, name: str, content: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)


def measure(root: Path, out: Path) -> dict[str, float]:
    """Seconds and gigabytes of the process that writes the report of a store."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", WRITE, str(root), str(out)], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    scale = 1e9 if sys.platform == "darwin" else 1e6  # of ru_maxrss
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "gigabytes": used.ru_maxrss / scale,
        "page_megabytes": (out / "report.html").stat().st_size / 1e6,
    }


def main() -> int:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "store"
        fill(root, wanted)
        held = len(load_rows(Store(root)))
        found = measure(root, Path(folder) / "out")
    print(json.dumps({"rows": held} | {name: round(value, 2) for name, value in found.items()}))
    return int(found["seconds"] > SECONDS or found["gigabytes"] > GIGABYTES)


if __name__ == "__main__":
    sys.exit(main())

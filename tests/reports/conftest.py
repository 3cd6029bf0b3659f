"""A synthetic store, numpy only: an image model, one in two dimensions, an exact one, and what goes wrong."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scorebench.bench.store import Store, key_of

Json = dict[str, Any]
BUDGETS = (5, 8, 10, 15, 20, 35)
# solver: kind, order, scale of the error, calls per step
SOLVERS: dict[str, tuple[str, int, float, int]] = {
    "ddim": ("ode", 1, 1.6, 1),
    "dpmpp-2m": ("ode", 2, 2.2, 1),
    "exp-ab2": ("ode", 2, 2.0, 1),
    "heun": ("ode", 2, 9.0, 2),
    "dpm-solver-3": ("ode", 3, 60.0, 3),
    "euler-maruyama": ("sde", 1, 9.0, 1),
    "rk45": ("ode", 5, 4e4, 6),
}
FEATURES = {"digits-vp": "digits-cnn", "gmm-2d": "identity", "exact:gmm?process=ve": "identity"}
SHAPES: dict[str, tuple[int, ...]] = {"digits-vp": (1, 8, 8), "gmm-2d": (2,), "exact:gmm?process=ve": (16,)}


class Build:
    """Writes cells whose errors follow scale · nfe^-order, so that the right verdicts are known."""

    def __init__(self, root: Path, n: int = 64) -> None:
        self.store, self.n, self.keys = Store(root).open_for_writing(), n, list[str]()

    def cell(self, model: str, solver: str, budget: int | None, what: str = "sample", **change: Any) -> str:
        """One cell; `change` replaces entries of its configuration, or of what stands beside that."""
        beside: Json = {"status": "ok", "message": "", "nfe": budget, "rows": [], "replicates": {}, "arrays": {}}
        beside |= {"machine": "test machine, 2 cores", "started": "2026-05-04T10:00:00+00:00"}
        beside |= {key: change.pop(key) for key in list(change) if key in beside}
        kind = SOLVERS.get(solver, ("ode", 2, 2.0, 1))[0]
        config = {
            "pass": what,
            "model": model,
            "process": "vp",
            "solver": solver,
            "options": {},
            "kind": kind,
        }
        config |= {"model_digest": hashlib.sha256(model.encode()).hexdigest(), "eta": float(kind == "sde")}
        config |= {"grid": "logsnr", "budget": budget, "dtype": "float32", "n": self.n, "seed": 0} | change
        counts, nfe = {}, beside["nfe"]
        if beside["status"] == "ok":
            counts = {
                "nfe_mean": float(nfe),
                "nfe_max": int(np.ceil(nfe)),
                "calls": nfe,
                "vjps": 0,
                "jvps": 0,
            }
        origin = {"device": "cpu", "threads": 2, "commit": "0123abcd4567", "package_version": "0.1.0"}
        origin |= {
            "torch_version": "2.13.0",
            "seconds": 1.5,
            **{k: beside[k] for k in ("machine", "started")},
        }
        key = key_of(config)
        cell = {"config": config, "counts": counts, "provenance": origin}
        cell |= {key: beside[key] for key in ("status", "message")}
        self.store.write_cell(key, cell, beside["arrays"])
        if beside["rows"]:
            self.store.write_json(f"metrics/{key}.json", {"rows": beside["rows"], "replicates": beside["replicates"]})
        self.keys.append(key)
        return key

    def errors(self, model: str, solver: str, budget: int | None, error: np.ndarray, **change: Any) -> str:
        """A sampling cell of a deterministic solver with these errors (n,) and nothing else."""
        arrays = {"index": np.arange(len(error)), "nfe": np.full(len(error), budget or 0), "error": error}
        rows = [median_row(error)]
        return self.cell(model, solver, budget, **{"n": len(error), "arrays": arrays, "rows": rows} | change)

    def fid(self, model: str, solver: str, budget: int, value: float, half: float, floor: float, **change: Any) -> str:
        """A sampling cell with a Fréchet distance and nothing else; `without` are its replicates."""
        rows = [row("fid", value, half, features="digits-cnn", **at(floor, change.pop("floor_half", 0.0)))]
        without = change.pop("without", None)
        replicates = {} if without is None else {"fid[digits-cnn]": list(without)}
        return self.cell(model, solver, budget, rows=rows, replicates=replicates, **change)

    def likelihood(self, model: str, solver: str, budget: int, error: np.ndarray) -> str:
        """A likelihood cell with these signed errors (n,)."""
        arrays = {"index": np.arange(len(error)), "log_p": -error, "error": error}
        half = 2 * error.std() / np.sqrt(len(error))
        rows = [row("likelihood_error", abs(error).mean(), half, unit="bits/dim")]
        return self.cell(model, solver, budget, "likelihood", n=len(error), arrays=arrays, rows=rows)

    def finish(self) -> Path:
        """Write the suite, the facts of the solvers and the models."""
        suite = {"name": "quick", "config": {"budgets": list(BUDGETS)}, "cells": self.keys}
        self.store.write_json("suites/quick.json", suite)
        self.store.write_json("solvers.json", {"solvers": {name: solver_facts(name) for name in SOLVERS}})
        same = {"process": "vp", "digest": "ab" * 32, "data": None}
        models = {m: same | {"shape": list(s), "features": FEATURES[m]} for m, s in SHAPES.items()}
        self.store.write_json("models.json", {"models": models})
        return self.store.root


def solver_facts(name: str) -> Json:
    paper = {"authors": f"Author {name[0].upper()} 2022", "title": f"On {name} <and more>"}
    paper |= {"link": "arXiv:2206.00364", "where": "Alg. 1"}
    kind, order, _, calls = SOLVERS[name]
    return {"id": name, "kind": kind, "order": order, "calls_per_step": calls, "reference": paper}


def row(metric: str, value: float, half: float, **rest: Any) -> Json:
    """A metric's row, its interval `half` to either side."""
    ends = {"value": float(value), "low": float(value - half), "high": float(value + half)}
    return {"metric": metric, "features": None, "unit": "", "floor": None} | ends | rest


def at(floor: float, half: float = 0.0) -> Json:
    """A floor with its interval, `half` to either side."""
    return {"floor": floor, "floor_low": floor - half, "floor_high": floor + half}


def median_row(error: np.ndarray) -> Json:
    low, middle, high = np.quantile(error, 0.5 + np.array([-1, 0, 1]) / np.sqrt(len(error)))
    ends = {"low": float(low), "high": float(high)}
    return row("error_median", middle, 0.0, unit="rms per dimension") | ends


def fill(build: Build) -> None:
    """Every model and solver in all three passes; cells skipped, one failed, one below the floor."""
    for difficulty, model in enumerate(SHAPES, 1):
        for solver, (_, _, _, calls) in SOLVERS.items():
            if solver == "rk45":
                for k in range(2, 6):
                    finished(build, model, solver, None, 14.2 + 12 * k, difficulty, {"rtol": 10.0**-k})
                continue
            for budget in BUDGETS:
                finished(build, model, solver, budget, budget // calls * calls, difficulty, {})
    for solver in ("ddim", "dpmpp-2m", "exp-ab2", "heun"):
        for budget in BUDGETS[2:]:
            build.likelihood("digits-vp", solver, budget, errors_of(solver, budget, 32, 0.1))
    strip = {"reference": images((1, 8, 8), 0.0), "real": images((1, 8, 8), 0.0, seed=5)}
    (build.store.root / "references").mkdir()
    np.savez(build.store.root / "references" / "strip-digits-vp.npz", **strip)


def finished(
    build: Build, model: str, solver: str, budget: int | None, nfe: float, difficulty: int, options: Json
) -> None:
    """One sampling cell, and its time on the image model; or the reason why there is none."""
    kind, _, _, calls = SOLVERS[solver]
    if budget is not None and budget < 2 * calls:
        build.cell(model, solver, budget, status="skipped", message=f"needs {2 * calls} network calls")
        return
    if (model, solver, budget) == ("gmm-2d", "dpm-solver-3", 8):
        build.cell(model, solver, budget, status="failed", message="diverged: not finite after step 2")
        return
    error = difficulty * errors_of(solver, nfe, build.n, 0.15)
    size = float(np.median(error))
    strip = images(SHAPES[model], min(size, 1.5) if kind == "ode" else 0.4)
    arrays: dict[str, np.ndarray] = {"index": np.arange(build.n), "strip": strip}
    fid = 0.2 if (model, solver, budget) == ("digits-vp", "exp-ab2", 35) else 1.1 + 20 * size**1.3
    rows = [row("fid", fid, 0.25, features=FEATURES[model], **at(0.9))]
    if kind == "ode":
        arrays["error"] = error
        rows.insert(0, median_row(error))
    build.cell(model, solver, budget, arrays=arrays, rows=rows, options=options, nfe=nfe)
    if model == "digits-vp":
        wall = nfe * (6.0 + 0.5 * calls)
        times = [row("time_ms", wall, 0.05 * wall, unit="ms"), row("time_ratio", 1.0, 0.02)]
        build.cell(model, solver, budget, "time", rows=times, options=options, nfe=nfe, n=16)


def errors_of(solver: str, nfe: float, n: int, noise: float) -> np.ndarray:
    """Errors (n,): scale · nfe^-order times what belongs to the sample, and a little of the solver's own."""
    _, order, scale, _ = SOLVERS[solver]
    own = np.random.default_rng([len(solver), int(nfe)]).lognormal(0, noise, n)
    return np.asarray((scale / nfe**order + 2e-4) * np.random.default_rng(0).lognormal(0, 0.6, n) * own)


def images(shape: tuple[int, ...], blur: float, seed: int = 1) -> np.ndarray:
    """Eight samples (8, *shape) in [−1, 1]: blobs for images, and farther from them as blur grows."""
    generator = np.random.default_rng(seed)
    if len(shape) != 3:
        return generator.normal(size=(8, *shape)).astype(np.float32)
    y, x = np.mgrid[-1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    centres = generator.uniform(-0.6, 0.6, (8, 2, 1, 1))
    blobs = 2 * np.exp(-8 * ((x - centres[:, 0]) ** 2 + (y - centres[:, 1]) ** 2)) - 1
    noise = np.random.default_rng(9).normal(size=blobs.shape)
    return np.broadcast_to((blobs + blur * noise)[:, None], (8, *shape)).astype(np.float32)


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Build]:
    """A new, empty store under the test's folder."""
    return lambda n=64: Build(tmp_path / "store", n)


@pytest.fixture(scope="session")
def full_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic store with everything in it; read only."""
    made = Build(tmp_path_factory.mktemp("full") / "store")
    fill(made)
    return made.finish()


@pytest.fixture
def store(full_store: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(full_store, tmp_path / "copy"))

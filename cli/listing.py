"""The rows of `scorebench solvers`, kept between calls: the list is complete only with every method and torch imported.

And what `scorebench suites NAME` says of a suite.
"""

import hashlib
import json
import os
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .shared import load_solvers

if TYPE_CHECKING:
    from scorebench.bench.suite import Suite

SOURCES = Path(__file__).parent.parent / "solvers"
Rows = list[list[str]]


def solver_rows(plugins: list[str]) -> Rows:
    """Id, kind, orders, cost, grid and authors of every solver; from the cache while no source has changed."""
    if plugins or entry_points(group="scorebench.solvers"):
        return read_registry(plugins)
    cache = cache_folder() / f"solvers-{sources_digest()}.json"
    try:
        kept: Rows = json.loads(cache.read_text(encoding="utf-8"))
        return kept
    except (OSError, ValueError):
        rows = read_registry([])
    if own_only():
        write_cache(cache, rows)
    return rows


def own_only() -> bool:
    """Whether nothing but this package has registered solvers in this process."""
    from scorebench.solvers.facts import SOLVERS

    return all(info.method.__module__.startswith("scorebench.solvers.") for info in SOLVERS.values())


def read_registry(plugins: list[str]) -> Rows:
    load_solvers(plugins)
    from scorebench.solvers.aliases import cost_rule
    from scorebench.solvers.facts import SOLVERS

    table = []
    for info in SOLVERS.values():
        cells = (info.id, info.kind, info.order, info.self_started, cost_rule(info), info.grid, info.reference.authors)
        table.append(["–" if cell is None else str(cell) for cell in cells])
    return table


def sources_digest() -> str:
    """16 hexadecimal digits over what makes the list: the solvers' files and this one."""
    sha = hashlib.sha256()
    for path in (Path(__file__), *sorted(SOURCES.rglob("*.py"))):
        sha.update(path.name.encode() + path.read_bytes())
    return sha.hexdigest()[:16]


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scorebench"


def write_cache(cache: Path, rows: Rows) -> None:
    """In place of older ones; a folder that cannot be written costs the next call its time."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        for old in cache.parent.glob("solvers-*"):
            old.unlink(missing_ok=True)
        part = cache.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        part.replace(cache)
    except OSError:
        pass


def suite_facts(suite: "Suite") -> dict[str, Any]:
    """What a suite measures: cells by pass, and what their product is of; its sections as they are set."""
    from scorebench.bench.cells import plan

    cells = Counter(cell.config["pass"] for cell in plan(suite))
    entries = {entry.id: [e for e in suite.solvers if e.id == entry.id] for entry in suite.solvers}
    facts: dict[str, Any] = {
        "suite": suite.name, "about": suite.about, "cells": [f"{kind} {count}" for kind, count in cells.items()],
        "models": [f"{model.address} ({model.n} samples)" for model in suite.models], "budgets": suite.budgets,
        "solvers": [f"{id} × {len(same)}" if len(same) > 1 else id for id, same in entries.items()],
        "metrics": suite.metrics, "noise seeds": suite.noise_seeds, "seed": suite.seed, "state": suite.dtype,
        "device": suite.device,
    }  # fmt: skip
    facts |= {f"factor {name}": list(levels) for name, levels in suite.factors.items()}
    sections = {name: getattr(suite, name) for name in ("likelihood", "round_trip", "timing")}
    return facts | {name: str(section) for name, section in sections.items() if section is not None}

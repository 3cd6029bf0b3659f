"""Looks after stores: finds every damaged file, merges one store into another, and removes what no suite lists."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .claims import FACTS
from .store import Damaged, Json, Store, digest_of, is_sealed_npz, key_of, opened_json, write_whole


@dataclass(frozen=True)
class Findings:
    """Files that are not as they were written, and files that nothing vouches for or needs, by their names in the store."""

    cells: int
    damaged: list[str]
    stray: list[str]


def verify(store: Store) -> Findings:
    """Read every file of a store, to the last bit."""
    damaged = [name for name in _facts(store) if _json(store, name) is None]
    keys = store.keys("cells")
    for key in keys:
        cell, arrays = _json(store, f"cells/{key}.json"), store.root / "cells" / f"{key}.npz"
        if cell is None or not cell["key"] == key == key_of(cell["config"]):
            damaged.append(f"cells/{key}.json")
        content = arrays.read_bytes() if arrays.is_file() else b""
        if not is_sealed_npz(content) or (cell is not None and digest_of(content) != cell["npz_sha256"]):
            damaged.append(f"cells/{key}.npz")
    damaged += [name for name in _names(store, "metrics", "json") if _json(store, name) is None]
    damaged += [n for n in _names(store, "references", "npz") if not is_sealed_npz((store.root / n).read_bytes())]
    stray = [path.relative_to(store.root).as_posix() for path in store.leftovers()] + list(_strays(store, set(keys)))
    return Findings(len(keys), damaged, stray)


@dataclass(frozen=True)
class Merged:
    """Cells that came, that were there, and that stayed out because they are damaged."""

    new: int
    present: int
    damaged: int


def merge(into: Store, other: Store) -> Merged:
    """Copy what a store lacks from another: cells with their rows, references, facts. A success replaces a failure."""
    counts = {"new": 0, "present": 0, "damaged": 0}
    with into.shared():
        for key in other.keys("cells"):
            counts[_merge_cell(into, other, key)] += 1
        for name in _names(other, "references", "npz"):
            content = (other.root / name).read_bytes()
            if is_sealed_npz(content) and not _is_sealed(into.root / name):
                write_whole(into.root / name, content)
        with into.claims.hold(FACTS):
            _merge_facts(into, other)
    return Merged(**counts)


def _merge_cell(into: Store, other: Store, key: str) -> str:
    theirs, mine = _sound(other, key), _sound(into, key)
    if theirs is None:
        return "damaged"
    present = mine is not None and (mine["status"] != "failed" or theirs["status"] == "failed")
    if not present:
        for name in (f"cells/{key}.npz", f"cells/{key}.json"):
            write_whole(into.root / name, (other.root / name).read_bytes())
    if not present or _json(into, f"metrics/{key}.json") is None:
        rows = _json(other, f"metrics/{key}.json")
        if rows is not None and (mine is None or not present or mine["npz_sha256"] == theirs["npz_sha256"]):
            into.write_json(f"metrics/{key}.json", rows)
    return "present" if present else "new"


def _merge_facts(into: Store, other: Store) -> None:
    for name in ("solvers", "models"):
        mine, theirs = (_json(store, f"{name}.json") or {name: {}} for store in (into, other))
        into.write_json(f"{name}.json", {name: theirs[name] | mine[name]})
    for name in _names(other, "suites", "json"):
        if theirs := _json(other, name) or {}:
            mine = _json(into, name) or theirs
            into.write_json(name, mine | {"cells": list(dict.fromkeys(mine["cells"] + theirs["cells"]))})


def prune(store: Store, dry: bool = False) -> list[str]:
    """Remove cells that no suite lists, strays, leftovers and the cache, or only name them; UsageError while a run works.

    Blocks of cells that were never finished are leftovers too.
    """
    with store.alone():
        suites = [_json(store, name) for name in _names(store, "suites", "json")]
        if None in suites:
            raise Damaged(store.root / "suites")
        listed = {key for suite in suites if suite for key in suite["cells"]}
        names = [p.relative_to(store.root).as_posix() for p in (*store.leftovers(), *store.root.glob("cache/*"))]
        names += _names(store, "parts", "npz")
        names += _strays(store, listed & set(store.keys("cells")))
        for name in names if not dry else ():
            (store.root / name).unlink(missing_ok=True)
    return names


def _facts(store: Store) -> list[str]:
    whole = [name for name in ("solvers.json", "models.json") if (store.root / name).exists()]
    return ["store.json", *whole, *_names(store, "suites", "json")]


def _names(store: Store, folder: str, ending: str) -> list[str]:
    return sorted(path.relative_to(store.root).as_posix() for path in (store.root / folder).glob(f"[!.]*.{ending}"))


def _strays(store: Store, keys: set[str]) -> Iterator[str]:
    """Files of cells and metrics that belong to none of these cells."""
    for folder in ("cells", "metrics"):
        for path in sorted((store.root / folder).glob("[!.]*")):
            if path.stem not in keys:
                yield f"{folder}/{path.name}"


def _json(store: Store, name: str) -> Json | None:
    """A JSON file of the store; None when it is damaged or absent."""
    path = store.root / name
    return opened_json(path.read_bytes()) if path.is_file() else None


def _sound(store: Store, key: str) -> Json | None:
    """A cell, when its JSON and its arrays are as they were written."""
    try:
        return store.check(key)
    except Damaged:
        return None


def _is_sealed(path: Path) -> bool:
    return path.is_file() and is_sealed_npz(path.read_bytes())

"""Rewrites a store of an older schema. The first schema sealed no npz and had another checksum in its JSON.

Everything is written under its new name before `store.json` says the new schema, and the old cells go last: killed at any
moment, a migration starts again.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .store import SCHEMA, Arrays, Json, Store, canonical, digest_of, key_of, opened_json


def migrate(store: Store, say: Callable[[str], None]) -> None:
    """Bring an older store to this schema; nothing to do for one of this schema, a newer one, or none."""
    if store.schema() != 1:
        return
    store.check_writable()
    with store.alone():
        names, lost = _cells(store)
        for path in sorted((store.root / "suites").glob("*.json")):
            if suite := _read(path):
                suite["cells"] = [names[key] for key in suite["cells"] if key in names]
                store.write_json(f"suites/{path.name}", suite)
        for name in ("solvers.json", "models.json"):
            if facts := _read(store.root / name):
                store.write_json(name, facts)
        for path in sorted((store.root / "references").glob("*.npz")):
            if (arrays := _load(path.read_bytes())) is not None:
                store.write_npz(f"references/{path.name}", arrays)
        store.write_json("store.json", {"schema": SCHEMA})
        for old in (*names, *lost):
            for name in (f"cells/{old}.json", f"cells/{old}.npz", f"metrics/{old}.json"):
                (store.root / name).unlink(missing_ok=True)
    say(f"store {store.root} brought from schema 1 to {SCHEMA}: {len(names)} cells, {len(lost)} damaged ones removed")


def _cells(store: Store) -> tuple[dict[str, str], list[str]]:
    """Rewrite cells and their rows; the new key of each old one, and the damaged ones."""
    names, lost = dict[str, str](), list[str]()
    for path in sorted((store.root / "cells").glob("[!.]*.json")):
        if opened_json(_bytes(path)) is not None:
            continue  # written by a migration that was killed
        cell, content = _read(path), _bytes(path.with_suffix(".npz"))
        arrays = _load(content)
        if cell is None or arrays is None or digest_of(content) != cell["npz_sha256"]:
            lost.append(path.stem)
            continue
        config = cell["config"] | {"schema": SCHEMA}
        names[path.stem] = key = key_of(config)
        store.write_cell(key, cell | {"config": config}, arrays)
        if rows := _read(store.root / "metrics" / path.name):
            kept = {"metric_key": "", "wanted": [], "message": "", "rows": rows["rows"]}
            store.write_json(f"metrics/{key}.json", kept)
    return names, lost


def _read(path: Path) -> Json | None:
    """A JSON file of the first schema; None when it is damaged or lost."""
    try:
        value = json.loads(_bytes(path))
        body = {key: entry for key, entry in value.items() if key != "checksum"}
        return body if value["checksum"] == hashlib.sha256(canonical(body).encode()).hexdigest() else None
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def _load(content: bytes) -> Arrays | None:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""

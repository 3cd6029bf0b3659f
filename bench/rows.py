"""Result rows: tidy, one metric a row. Reports read these and the arrays of the cells, and nothing else.

Rows of a large store are kept as parquet beside it, each with the digest of the files and of the code that it comes from:
the files stay the truth, and what differs from them is made anew.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd

from .fingerprint import fingerprint
from .quality import FLOOR
from .store import Damaged, Json, Store, Unwritable, digest_of, opened_json, write_whole

COLUMNS = (
    "cell suite pass model model_digest process solver options kind eta grid budget nfe_mean nfe_max calls vjps jvps flops "
    "dtype device threads n_samples seed_block metric features value low high unit floor floor_low floor_high status message "
    "commit package_version torch_version machine started seconds"
).split()
WHOLE = "threads n_samples seed_block".split()
NUMBERS = "eta budget nfe_mean nfe_max calls vjps jvps flops value low high floor floor_low floor_high seconds".split()
TYPES = {c: "int64" if c in WHOLE else "float64" if c in NUMBERS else "str" for c in COLUMNS} | {"content": "str"}
WORTH = 1000  # cells from which on rows are kept


def rows_of(cell: Json, metrics: Json, suite: str) -> list[Json]:
    """The rows of one cell; one row without a metric when it was skipped or failed, or its metrics did."""
    config, counts, provenance = cell["config"], cell["counts"], cell["provenance"]
    common: dict[str, Any] = {
        "cell": cell["key"],
        "suite": suite,
        "options": json.dumps(
            config["options"] | config.get("ending", {}) | config.get("execution", {}), sort_keys=True
        ),
        "device": provenance["device"],
        "threads": provenance["threads"],
        "status": cell["status"],
        **{
            k: config[k]
            for k in ("pass", "model", "model_digest", "process", "solver", "kind", "eta", "grid", "budget", "dtype")
        },
        **{"n_samples": config["n"], "seed_block": config["seed"]},
        **{k: counts.get(k) for k in ("nfe_mean", "nfe_max", "calls", "vjps", "jvps", "flops")},
        **{k: provenance[k] for k in ("commit", "package_version", "torch_version", "machine", "started", "seconds")},
    }
    message = cell["message"] or metrics.get("message", "")
    empty = dict.fromkeys(("metric", "features", "value", "low", "high", "unit", *FLOOR))
    return [{**common, **empty, **row, "message": row.get("note") or message} for row in metrics.get("rows") or [{}]]


def load_rows(store: Store) -> pd.DataFrame:
    """Every row of every suite in the store, in the suite's order; UsageError at a damaged file."""
    suites = store.suites()
    keys = list(dict.fromkeys(key for suite in suites for key in suite["cells"]))
    rows = _rows_of_cells(store, keys)
    places = rows.groupby("cell", sort=False).indices
    chosen = [(suite["name"], place) for suite in suites for key in suite["cells"] for place in places.get(key, ())]
    frame = rows.iloc[[place for _, place in chosen]].reset_index(drop=True)
    frame["suite"] = pd.Series([name for name, _ in chosen], dtype="str")
    return frame[COLUMNS]


def _rows_of_cells(store: Store, keys: list[str]) -> pd.DataFrame:
    """The rows of these cells, with the digest of what they come from: kept ones where that is the same."""
    kept = _kept(store.root) if len(keys) >= WORTH else _typed([])
    known = dict(zip(kept["cell"].tolist(), kept["content"].tolist(), strict=True))
    source, same, fresh = fingerprint("scorebench.bench.rows").encode(), set[str](), list[Json]()
    for key in keys:
        cell = _bytes(f"{store.root}/cells/{key}.json")
        if cell is None:
            continue
        metrics = _bytes(f"{store.root}/metrics/{key}.json") or b""
        content = hashlib.sha256(b"%s %d " % (source, len(cell)) + cell + metrics).hexdigest()
        if known.get(key) == content:
            same.add(key)
        else:
            fresh += [row | {"content": content} for row in _parsed(store.root, key, cell, metrics)]
    rows = pd.concat([kept[kept["cell"].isin(same)], _typed(fresh)], ignore_index=True)
    if len(keys) >= WORTH and (fresh or len(same) < len(known)):
        _keep(store.root, rows)
    return rows


def _parsed(root: Path, key: str, cell: bytes, metrics: bytes) -> list[Json]:
    body, rows = opened_json(cell), opened_json(metrics) if metrics else {}
    if body is None or body["key"] != key:
        raise Damaged(root / "cells" / f"{key}.json")
    if rows is None:
        raise Damaged(root / "metrics" / f"{key}.json")
    return rows_of(body, rows, "")


def _typed(rows: list[Json]) -> pd.DataFrame:
    """Rows with the types that parquet gives back."""
    return pd.DataFrame(rows, columns=list(TYPES)).astype(TYPES)


def _kept(root: Path) -> pd.DataFrame:
    """The rows kept of this store; none where there are none, or not as they were written."""
    for path in (root / "cache").glob("rows-*.parquet"):
        content = _bytes(path)
        if content is not None and path.stem == f"rows-{digest_of(content)}":
            return pd.read_parquet(io.BytesIO(content), engine="pyarrow")
    return _typed([])


def _keep(root: Path, rows: pd.DataFrame) -> None:
    """Write the rows as parquet under their digest, in place of older ones, where the store can be written."""
    content = rows.to_parquet(engine="pyarrow", index=False)
    before = list((root / "cache").glob("rows-*.parquet"))
    path = root / "cache" / f"rows-{digest_of(content)}.parquet"
    try:
        write_whole(path, content)
    except Unwritable:
        return
    for old in before:
        if old != path:
            old.unlink(missing_ok=True)


def _bytes(path: str | Path) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:  # for 40,000 small files pathlib would take twice as long
            return file.read()
    except FileNotFoundError:
        return None

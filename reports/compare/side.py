"""One side of a comparison: the rows of a store, or of a table that was written from one."""

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scorebench.bench.rows import COLUMNS as ROWS
from scorebench.bench.store import Store, write_whole
from scorebench.reference_models.errors import UsageError
from scorebench.reports.results import Arrays, load, tidy

CELL = "pass model process solver options grid budget dtype n_samples".split()  # what a cell measures
ROW = [*CELL, "metric", "features"]
COUNTS = "nfe_mean nfe_max calls vjps jvps flops".split()
ORIGIN = "model_digest kind seed_block threads device machine torch_version package_version commit".split()
COLUMNS = [*ROW, "value", "low", "high", "unit", "status", "message", *COUNTS, *ORIGIN]
DEFAULTS = {
    "pass": "sample", "process": "", "options": "{}", "grid": "", "dtype": "float32", "n_samples": 0,
    "unit": "", "status": "ok", "message": "", "kind": "ode", "seed_block": 0, "threads": 1, "device": "cpu",
    "model_digest": "",
}  # fmt: skip
NEEDED = ("model", "solver", "metric", "value")
TABLES = (".csv", ".csv.gz")
NUMBERS = ("budget", "value", "low", "high", *COUNTS)


@dataclass(frozen=True)
class Side:
    """Rows as reports tidy them, one metric a row, and of a store the arrays of each cell, by which cells pair."""

    name: str
    rows: pd.DataFrame
    arrays: dict[str, Arrays]


def read(name: str) -> Side:
    """A store's folder, or a table of rows (.csv or .csv.gz); UsageError when it is neither."""
    path = Path(name)
    if name.endswith(TABLES) and path.is_file():
        return Side(name, tidy(_table(path)), {})
    results = load(path)
    return Side(name, results.frame, results.arrays)


def _table(path: Path) -> pd.DataFrame:
    """Rows as they were written; what a table of one's own leaves out is filled in."""
    try:
        head = heading(path)
        rows = pd.read_csv(io.StringIO(_text(path).split("\n", len(head))[len(head)]))
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise UsageError(f"table {path}: {' '.join(str(error).split())}") from None
    for column in NEEDED:
        if column not in rows:
            raise UsageError(
                f"table {path} has no column {column!r}: `scorebench store export DIR` writes tables of rows, and "
                f"{', '.join(NEEDED)} are the columns that cannot be missing"
            )
    rows = rows.reindex(columns=ROWS).astype({name: "object" for name in DEFAULTS}).fillna(DEFAULTS)
    try:
        rows = rows.infer_objects().astype({name: "float64" for name in NUMBERS})
    except ValueError as error:
        raise UsageError(f"table {path}: {error}") from None
    if rows.empty:
        raise UsageError(f"table {path} holds no row")
    rows["cell"] = pd.util.hash_pandas_object(rows[[*CELL, "seed_block"]].astype(str), index=False).astype(str)
    return rows.assign(started="")


def heading(path: Path) -> list[str]:
    """The lines that begin a table with a # : why it is as it is."""
    lines = _text(path).split("\n")
    return lines[: next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))]


def _text(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


def write(side: Side, path: Path, reason: str, day: str) -> None:
    """The rows of a side as a table to compare with, and above them the reason, below those of before."""
    rows = side.rows.reindex(columns=COLUMNS).sort_values([*ROW, "seed_block"], kind="stable", na_position="first")
    lines = [*(heading(path) if path.is_file() else []), f"# {day}: {' '.join(reason.split())}"]
    text = rows.to_csv(index=False, float_format="%.9g", lineterminator="\n")
    content = ("\n".join(lines) + "\n" + text).encode()
    try:
        write_whole(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def is_store(name: str) -> bool:
    return Store(Path(name)).schema() is not None

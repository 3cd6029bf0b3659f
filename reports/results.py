"""A whole store, read and checked before anything is written: all that a report says comes from here."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scorebench.bench.rows import load_rows
from scorebench.bench.store import Json, Store
from scorebench.reference_models.errors import UsageError

from .wording import slug

Arrays = dict[str, np.ndarray]
TIMED = ("time", "likelihood-time")
KEPT = ("index", "error", "strip")  # features are large, and no report needs them
PICTURES = {"strip": ("reference", "real"), "interpolation": ("rows",)}
SAME = "pass model model_digest dtype n_samples seed_block solver options grid budget where".split()
NUMBERS = (
    "budget nfe_mean nfe_max calls vjps jvps eta n_samples value low high floor floor_low floor_high seconds".split()
)


@dataclass(frozen=True)
class Results:
    """A store in memory.

    `rows` are the tidy rows as they stand. `frame` holds each cell and metric once, the latest where a
    configuration was measured twice, with columns more: `label` (the solver as figures name it),
    `measure` (the metric with its features), `where` (the machine of a timing) and `field` (what must
    be equal for two cells to be compared).
    """

    rows: pd.DataFrame
    frame: pd.DataFrame
    arrays: dict[str, Arrays]
    strips: dict[str, Arrays]
    interpolations: dict[str, np.ndarray]
    solvers: dict[str, Json]
    models: dict[str, Json]
    suites: list[Json]
    missing: int

    def groups(self, metric: str) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
        """(model, measure, field, rows) of a metric, models in the suite's order."""
        rows = self.frame[self.frame["metric"] == metric]
        for (model, measure, field), group in rows.groupby(["model", "measure", "field"], sort=False):
            yield str(model), str(measure), str(field), group

    def principal(self, metric: str) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
        """As `groups`, but of each model and measure only one field: most samples, most cells, newest."""
        best: dict[tuple[str, str], tuple[str, str, str, pd.DataFrame]] = {}
        for model, measure, field, rows in self.groups(metric):
            rival = best.get((model, measure))
            if rival is None or _weight(rows) > _weight(rival[3]):
                best[model, measure] = (model, measure, field, rows)
        yield from best.values()


def load(root: Path) -> Results:
    """Read and check a whole store; UsageError at the first damaged file, or when it holds no cell."""
    store = Store(root).open_for_reading()
    suites, rows = store.suites(), load_rows(store)
    if rows.empty:
        raise UsageError(f"store {root} holds no cell: fill it with `scorebench run quick --store {root}`")
    keys = [str(key) for key in rows["cell"].unique()]
    arrays = {key: _arrays(store, key) for key in keys}
    models = _section(store, "models")
    names = list(dict.fromkeys(rows["model"].astype(str)))
    strips = {model: _pictures(store, "strip", model) for model in names}
    between = {model: shown["rows"] for model in names if (shown := _pictures(store, "interpolation", model))}
    missing = sum(not store.has("cells", key) for suite in suites for key in suite["cells"])
    strips = {model: strip for model, strip in strips.items() if strip}
    return Results(rows, tidy(rows), arrays, strips, between, _section(store, "solvers"), models, suites, missing)


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `label`, `measure` and `field`, without doubles and without what a later run replaced."""
    frame = rows.drop_duplicates(["cell", "metric", "features"]).copy()
    frame[NUMBERS] = frame[NUMBERS].apply(pd.to_numeric)
    threads, device = frame["threads"].astype(str), frame["device"].astype(str)
    place = "threads: " + threads + ", " + device + ", " + frame["machine"].astype(str)
    frame["where"] = place.where(frame["pass"].isin(TIMED), "")
    cells = frame.drop_duplicates("cell").sort_values("started", kind="stable")
    frame = frame[frame["cell"].isin(cells.drop_duplicates(SAME, keep="last")["cell"])].copy()
    frame["label"] = labels(frame)
    features = frame["features"].map(lambda name: f"[{name}]" if isinstance(name, str) else "")
    frame["measure"] = frame["metric"].fillna("").astype(str) + features
    frame["field"] = frame.apply(_field, axis=1)
    return frame.reset_index(drop=True)


def labels(frame: pd.DataFrame) -> "pd.Series[str]":
    """Each row's solver as figures name it: its id, the options set, the grid where it ran on several."""

    def base(row: "pd.Series[str]") -> str:
        options = json.loads(row["options"])
        if pd.isna(row["budget"]) or not options:  # the ladder of an adaptive method is one line
            return str(row["solver"])
        return f"{row['solver']} ({', '.join(f'{k}={_short(v)}' for k, v in sorted(options.items()))})"

    label = frame.apply(base, axis=1)
    grids = frame.assign(label=label).groupby(["model", "pass", "label"])["grid"].transform("nunique")
    return label.where(grids == 1, label + " · " + frame["grid"].astype(str))


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _field(row: "pd.Series[str]") -> str:
    if row["pass"] in TIMED:
        return f"batch of {row['n_samples']}, {row['where']}"
    digest, options = str(row["model_digest"])[:8], json.loads(row["options"])
    ending = {True: ", denoised", False: ", at t_min"}.get(options.get("denoise"), "")  # which truth errors are to
    return f"n = {row['n_samples']}, seed {row['seed_block']}, {row['dtype']}, model {digest}{ending}"


def _weight(rows: pd.DataFrame) -> tuple[int, int, str]:
    return int(rows["n_samples"].iloc[0]), len(rows), str(rows["started"].max())


def _arrays(store: Store, key: str) -> Arrays:
    """The arrays of a cell that reports need, and under the names of measures the replicates by which cells pair."""
    kept = {name: array for name, array in store.arrays(key).items() if name in KEPT}
    metrics = store.read_json(f"metrics/{key}.json") if store.has("metrics", key) else {}
    return kept | {name: np.array(values) for name, values in metrics.get("replicates", {}).items()}


def _section(store: Store, name: str) -> dict[str, Json]:
    """The body of solvers.json or models.json; empty where the store has none."""
    return dict(store.read_json(f"{name}.json")[name]) if (store.root / f"{name}.json").is_file() else {}


def _pictures(store: Store, kind: str, model: str) -> Arrays:
    """The images that a store keeps of a model beside its cells; empty where it has none of that kind."""
    path = store.root / "references" / f"{kind}-{slug(model)}.npz"
    if not path.is_file():
        return {}
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            return {name: file[name] for name in PICTURES[kind] if name in file}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise UsageError(f"{path} was cut or edited: delete it and run the suite again") from None

"""A whole store, read and checked before anything is written: all that a report says comes from here."""

import io
import json
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from scorebench.bench.rows import load_rows
from scorebench.bench.store import Json, Store
from scorebench.reference_models.errors import UsageError

from .wording import slug

Arrays = dict[str, np.ndarray]
Group = tuple[str, str, str, pd.DataFrame]  # model, measure, field, rows
GROUP = ["metric", "model", "measure", "field"]
TIMED = ("time", "likelihood-time")
KEPT = ("index", "error", "strip")  # features are large, and no report needs them
PICTURES = {"strip": ("reference", "real"), "interpolation": ("rows",)}
SAME = "pass model model_digest dtype n_samples seed_block solver options grid budget where".split()
EXECUTION = ("capture", "channels_last", "autocast")  # how a network ran
FIELD = "pass n_samples where model_digest options seed_block dtype".split()
NUMBERS = (
    "budget nfe_mean nfe_max calls vjps jvps eta n_samples value low high floor floor_low floor_high seconds".split()
)


class Empty(UsageError):
    """A store without a cell."""


@dataclass(frozen=True)
class Results:
    """A store in memory.

    `rows` are the tidy rows as they stand. `frame` holds each cell and metric once, the latest where a
    configuration was measured twice, with columns more: `label` (the solver as figures name it),
    `measure` (the metric with its features), `where` (the machine of a timing) and `field` (what must
    be equal for two cells to be compared).
    """

    root: Path
    rows: pd.DataFrame
    frame: pd.DataFrame
    arrays: dict[str, Arrays]
    strips: dict[str, Arrays]
    interpolations: dict[str, np.ndarray]
    solvers: dict[str, Json]
    models: dict[str, Json]
    suites: list[Json]
    missing: int

    @cached_property
    def grouped(self) -> dict[str, list[Group]]:
        """By metric what `groups` gives."""
        found: dict[str, list[Group]] = {}
        for (metric, model, measure, field), rows in self.frame.groupby(GROUP, sort=False):
            found.setdefault(str(metric), []).append((str(model), str(measure), str(field), rows))
        return found

    @cached_property
    def largest(self) -> dict[str, list[Group]]:
        """By metric what `principal` gives."""
        return {metric: list(_largest(groups).values()) for metric, groups in self.grouped.items()}

    def groups(self, metric: str) -> Iterator[Group]:
        """(model, measure, field, rows) of a metric, models in the suite's order."""
        yield from self.grouped.get(metric, ())

    def principal(self, metric: str) -> Iterator[Group]:
        """As `groups`, but of each model and measure only one field: most samples, most cells, newest."""
        yield from self.largest.get(metric, ())


def load(root: Path) -> Results:
    """Read and check a whole store; UsageError at the first damaged file, Empty when it holds no cell."""
    store = Store(root).open_for_reading()
    suites, rows = store.suites(), load_rows(store)
    if rows.empty:
        raise Empty(f"store {root} holds no cell: fill it with `scorebench run quick --store {root}`")
    keys = [str(key) for key in rows["cell"].unique()]
    arrays = {key: _arrays(store, key) for key in keys}
    models = _section(store, "models")
    names = list(dict.fromkeys(rows["model"].astype(str)))
    strips = {model: _pictures(store, "strip", model) for model in names}
    between = {model: shown["rows"] for model in names if (shown := _pictures(store, "interpolation", model))}
    missing = sum(not store.has("cells", key) for suite in suites for key in suite["cells"])
    strips = {model: strip for model, strip in strips.items() if strip}
    return Results(root, rows, tidy(rows), arrays, strips, between, _section(store, "solvers"), models, suites, missing)


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `label`, `measure` and `field`, without doubles and without what a later run replaced."""
    frame = rows.drop_duplicates(["cell", "metric", "features"])
    frame = frame.astype({name: object for name in frame if frame[name].dtype.kind not in "if"})  # one block: rows are
    frame[NUMBERS] = frame[NUMBERS].apply(pd.to_numeric)  # taken from it thirty times as fast as from as many columns
    threads, device = frame["threads"].astype(str), frame["device"].astype(str)
    place = "threads: " + threads + ", " + device + ", " + frame["machine"].astype(str)
    frame["where"] = place.where(frame["pass"].isin(TIMED), "")
    cells = frame.drop_duplicates("cell").sort_values("started", kind="stable")
    frame = frame[frame["cell"].isin(cells.drop_duplicates(SAME, keep="last")["cell"])].copy()
    frame["label"] = labels(frame)
    features = frame["features"].map(lambda name: f"[{name}]" if isinstance(name, str) else "")
    frame["measure"] = frame["metric"].fillna("").astype(str) + features
    frame["field"] = [_field(*row) for row in frame[FIELD].itertuples(index=False)]
    made = dict.fromkeys(("where", "label", "measure", "field"), object)
    return frame.astype(made).reset_index(drop=True).copy()  # one block again


def labels(frame: pd.DataFrame) -> "pd.Series[str]":
    """Each row's solver as figures name it: its id, the options set, the grid where it ran on several."""
    told = zip(frame["solver"], frame["options"], frame["budget"].isna(), strict=True)
    label = pd.Series([_label(*row) for row in told], frame.index, dtype=object)
    grids = frame.assign(label=label).groupby(["model", "pass", "label"])["grid"].transform("nunique")
    return label.where(grids == 1, label + " · " + frame["grid"].astype(str))


@cache
def _label(solver: str, options: str, ladder: bool) -> str:
    given = json.loads(options)
    if ladder or not given:  # the ladder of an adaptive method is one line
        return solver
    return f"{solver} ({', '.join(f'{k}={_short(v)}' for k, v in sorted(given.items()))})"


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


@cache
def _field(kind: str, n: int, where: str, digest: str, options: str, seed: int, dtype: str) -> str:
    given = json.loads(options)
    how = "".join(f", {name}={given[name]}" for name in EXECUTION if name in given)
    if kind in TIMED:
        return f"batch of {n}, {where}{how}"
    denoised = given.get("denoise")
    ending = {True: ", denoised", False: ", at t_min"}.get(denoised, "")  # which truth errors are to
    return f"n = {n}, seed {seed}, {dtype}, model {str(digest)[:8]}{ending}{how}"


def _largest(groups: list[Group]) -> dict[tuple[str, str], Group]:
    best: dict[tuple[str, str], Group] = {}
    for model, measure, field, rows in groups:
        rival = best.get((model, measure))
        if rival is None or _weight(rows) > _weight(rival[3]):
            best[model, measure] = (model, measure, field, rows)
    return best


def _weight(rows: pd.DataFrame) -> tuple[int, int, str]:
    return int(rows["n_samples"].iloc[0]), len(rows), str(rows["started"].max())


def _arrays(store: Store, key: str) -> Arrays:
    """The arrays of a cell that reports need, in the order of the sample index, and under measures' names the replicates."""
    timed = store.check(key)["config"]["pass"] in TIMED
    kept = {} if timed else _read(store.root / "cells" / f"{key}.npz", KEPT)
    if "error" in kept and (np.diff(kept["index"]) < 0).any():
        order = np.argsort(kept["index"], kind="stable")
        kept |= {name: kept[name][order] for name in ("index", "error")}
    metrics = store.read_json(f"metrics/{key}.json") if store.has("metrics", key) else {}
    return kept | {name: np.array(values) for name, values in metrics.get("replicates", {}).items()}


def _read(path: Path, names: Collection[str]) -> Arrays:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name in names}


def _section(store: Store, name: str) -> dict[str, Json]:
    """The body of solvers.json or models.json; empty where the store has none."""
    return dict(store.read_json(f"{name}.json")[name]) if (store.root / f"{name}.json").is_file() else {}


def _pictures(store: Store, kind: str, model: str) -> Arrays:
    """The images that a store keeps of a model beside its cells; empty where it has none of that kind."""
    path = store.root / "references" / f"{kind}-{slug(model)}.npz"
    if not path.is_file():
        return {}
    try:
        return _read(path, PICTURES[kind])
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise UsageError(f"{path} was cut or edited: delete it and run the suite again") from None

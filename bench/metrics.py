"""The metric rows of cells, from their arrays alone: no sampling. Their key names the code, the features and the arrays.

A metric that fails costs its cell's rows: the cell stays, the cause is kept, and the next run tries again.
"""

from dataclasses import dataclass, field
from math import log, prod

import numpy as np
import torch

from scorebench.reference_models.datasets import DATASETS

from .cells import Cell
from .features import floor_features, real_features
from .fingerprint import fingerprint
from .measure import Say, cause, solution
from .quality import (
    Jackknifed,
    error_rows,
    fid_rows,
    frechet,
    jackknifed_frechet,
    likelihood_rows,
    round_trip_rows,
    time_rows,
)
from .store import Damaged, Json, Store, Unwritable, key_of


@dataclass(frozen=True)
class Sides:
    """What a model's samples are compared with: real features, the floor at equal n, and the reference solution's FID."""

    real: np.ndarray
    floor: float | None
    reference: Jackknifed


@dataclass
class Metrics:
    """Computes what a suite wants to know of each cell, and keeps it in the store beside what other suites wanted."""

    store: Store
    wanted: list[str]
    say: Say = lambda _: None
    sides: dict[str, Sides | None] = field(default_factory=dict)

    def key(self, cell: Cell, kept: Json) -> str:
        source = fingerprint("scorebench.bench.quality", "scorebench.bench.features")
        return key_of([cell.key, kept["npz_sha256"], source, cell.extractor.digest])

    def current(self, cell: Cell, kept: Json) -> bool:
        """Whether the store holds all wanted rows of a cell, as this code computes them."""
        rows = self._kept(cell)
        same = rows.get("metric_key") == self.key(cell, kept)
        return same and set(self.wanted) <= set(rows["wanted"]) and not rows["message"]

    def _kept(self, cell: Cell) -> Json:
        try:
            return self.store.read_json(f"metrics/{cell.key}.json")
        except Damaged:
            return {}

    def update(self, cell: Cell) -> None:
        """Compute and write a cell's rows unless they are there."""
        kept, before = self.store.cell(cell.key), self._kept(cell)
        if self.current(cell, kept):
            return
        others = before["wanted"] if before.get("metric_key") == self.key(cell, kept) else []
        wanted, rows, message = sorted({*self.wanted, *others}), list[Json](), ""
        if kept["status"] == "ok":
            try:
                rows = [row for row in self._rows(cell, kept, wanted) if row["metric"] in wanted]
            except Unwritable:
                raise
            except Exception as error:
                message = f"metrics: {cause(error)}"
        self.write(cell, kept, wanted, rows, message)

    def write(self, cell: Cell, kept: Json, wanted: list[str], rows: list[Json], message: str) -> None:
        body = {"metric_key": self.key(cell, kept), "wanted": wanted, "rows": rows, "message": message}
        self.store.write_json(f"metrics/{cell.key}.json", body)

    def _rows(self, cell: Cell, kept: Json, wanted: list[str]) -> list[Json]:
        arrays, n = self.store.arrays(cell.key, kept), cell.config["n"]
        match cell.config["pass"]:
            case "time":
                return time_rows(arrays)
            case "likelihood-time":
                return time_rows(arrays, "likelihood_")
            case "round-trip":
                return round_trip_rows(arrays["error"])
            case "likelihood":
                offset = data.log_bin if (data := DATASETS.get(cell.model.data or "")) else 0.0
                nll = -(arrays["log_p"] / prod(cell.model.shape) + offset) / log(2)
                return likelihood_rows(arrays["error"], nll)
        rows = error_rows(arrays["error"]) if "error" in arrays else []
        sides = self._sides(cell) if {"fid", "excess_fid"}.intersection(wanted) else None
        if sides is not None and n > 2 * sides.real.shape[1]:
            fid = jackknifed_frechet(arrays["features"], sides.real)
            rows += fid_rows(cell.extractor.name, fid, sides.reference, sides.floor)
        return rows

    def _sides(self, cell: Cell) -> Sides | None:
        """The sides of a cell's model, seed block and size, once a run; None without data."""
        name = key_of([cell.config[part] for part in ("model", "n", "seed", "dtype")])
        if name not in self.sides:
            real = real_features(cell.model)
            self.sides[name] = None if real is None else self._compared(cell, real)
        return self.sides[name]

    def _compared(self, cell: Cell, real: np.ndarray) -> Sides:
        other = floor_features(cell.model, cell.config["n"])
        features = cell.extractor.extract(torch.from_numpy(solution(cell, self.store, self.say).solution))
        return Sides(real, None if other is None else frechet(other, real), jackknifed_frechet(features, real))

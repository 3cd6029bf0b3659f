"""Sample cells beside what they are compared with, which is made once a run for all cells of a model, seed block and size."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, TypeVar

import numpy as np
import torch

from scorebench.reference_models.model import ExactModel

from . import blocks, moments
from .cells import Cell
from .features import Extractor, classes_of, exact_blocks, floor_features, real_features
from .fingerprint import fingerprint
from .inception import NAME, pixels_to_compare
from .measure import Say, solution
from .references import Reference
from .sample_metrics import EXACT, FEATURES, Exact, class_row, error_rows, feature_rows
from .sides import Sides
from .store import Arrays, Json, Store, key_of

T = TypeVar("T")


@dataclass
class Compared:
    """Computes the rows of sample cells from their arrays."""

    store: Store
    say: Say
    kept: dict[str, Any] = field(default_factory=dict)

    def rows(self, cell: Cell, arrays: Arrays, wanted: set[str]) -> list[Json]:
        """All rows that are wanted of a cell."""
        rows = []
        if "error" in arrays:
            rows += error_rows(arrays["error"], self._uncertainty(cell))
            if "class_changed" in wanted and (told := classes_of(cell.model)) is not None:
                looked_at = told(arrays["features"][0]), told(self._looked_at(cell, cell.extractor))
                rows.append(class_row(*looked_at, cell.extractor.name))
        if wanted.intersection(FEATURES):
            if (sides := self._sides(cell, cell.extractor)) is not None:
                rows += feature_rows(arrays["features"], sides, wanted)
            if (inception := next((e for e in cell.more if e.name == NAME), None)) is not None:
                sides = self._once(NAME, cell, partial(self._inception_sides, cell, inception))
                rows += [] if sides is None else feature_rows(arrays[NAME], sides, wanted)
        if wanted.intersection(EXACT) and (exact := self._exact(cell)) is not None:
            sets = arrays.get(exact.features, arrays["features"])
            rows += exact.rows(sets, arrays["log_p"], prod(cell.model.shape))
        return rows

    def _once(self, what: str, cell: Cell, make: Callable[[], T]) -> T:
        name = key_of([what, *(cell.config[part] for part in ("model", "n", "seed", "dtype", "denoise"))])
        if name not in self.kept:
            self.kept[name] = make()
        found: T = self.kept[name]
        return found

    def _reference(self, cell: Cell) -> Iterator[Reference]:
        """The reference solution, a block at a time: what is looked at of its images is kept, and they are dropped."""
        return (solution(cell, self.store, self.say, rows) for rows in blocks.of(cell.config["n"]))

    def _uncertainty(self, cell: Cell) -> np.ndarray:
        """The reference's own (n,)."""

        def make() -> np.ndarray:
            return np.concatenate([block.uncertainty for block in self._reference(cell)])

        return self._once("uncertainty", cell, make)

    def _looked_at(self, cell: Cell, extractor: Extractor) -> np.ndarray:
        """The reference solution's features (n, k)."""

        def make() -> np.ndarray:
            return np.concatenate([extractor.extract(torch.from_numpy(x.solution)) for x in self._reference(cell)])

        return self._once(f"features {extractor.name}", cell, make)

    def _sides(self, cell: Cell, extractor: Extractor) -> Sides | None:
        """None without data."""

        def make() -> Sides | None:
            if (real := real_features(cell.model)) is None:
                return None
            other = floor_features(cell.model, cell.config["n"])
            return Sides(extractor.name, real, other, self._looked_at(cell, extractor))

        return self._once(f"sides {extractor.name}", cell, make)

    def _inception_sides(self, cell: Cell, extractor: Extractor) -> Sides | None:
        """Features of real images take minutes: they are kept in the store. None without data."""
        parts = [cell.config[part] for part in ("model", "model_digest", "n", "seed", "dtype")]
        key = key_of([NAME, extractor.digest, fingerprint("scorebench.bench.inception"), *parts])
        if (kept := self.store.reference(key)) is None:
            if (pixels := pixels_to_compare(cell.model, cell.config["n"])) is None:
                return None
            self.say(f"features of {NAME} of {cell.config['model']}'s data")
            real, other = pixels
            kept = {"real": extractor.extract(real), "reference": self._looked_at(cell, extractor)}
            kept |= {} if other is None else {"other": extractor.extract(other)}
            self.store.write_npz(f"references/{key}.npz", kept)
        return Sides(NAME, kept["real"], kept.get("other"), kept["reference"])

    def _exact(self, cell: Cell) -> Exact | None:
        """None where the model's law is not known."""
        model = cell.model
        if not isinstance(model, ExactModel) or not moments.known(model):
            return None

        def make() -> Exact:
            t, inside = torch.tensor(model.process.t_min, dtype=torch.float64), moments.coordinates(model)
            draws = [(inside.extract(x), model.log_prob(x, t).numpy()) for x in exact_blocks(model, cell.config["n"])]
            features, log_p = (np.concatenate(part) for part in zip(*draws, strict=True))
            return Exact(inside.name, moments.target(model), features, log_p)

        return self._once("exact", cell, make)

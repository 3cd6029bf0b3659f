"""The metric rows of cells, from their arrays alone: no sampling. Their key names the code, the features and the arrays.

A metric that fails costs its cell's rows: the cell stays, the cause is kept, and the next run tries again.
"""

from dataclasses import dataclass, field
from math import log, prod

from scorebench.reference_models.datasets import DATASETS

from .cells import Cell
from .compared import Compared
from .fingerprint import fingerprint
from .measure import Say, cause
from .quality import likelihood_rows, round_trip_rows, time_rows
from .store import Damaged, Json, Store, Unwritable, key_of


@dataclass
class Metrics:
    """Computes what a suite wants to know of each cell, and keeps it in the store beside what other suites wanted."""

    store: Store
    wanted: list[str]
    say: Say = lambda _: None
    compared: Compared = field(init=False)

    def __post_init__(self) -> None:
        self.compared = Compared(self.store, self.say)

    def key(self, cell: Cell, kept: Json) -> str:
        source = fingerprint(
            "scorebench.bench.sample_metrics", "scorebench.bench.moments", "scorebench.bench.inception"
        )
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
        replicates = {measure(row): found for row in rows if (found := row.pop("without", None)) is not None}
        body: Json = {"metric_key": self.key(cell, kept), "wanted": wanted, "rows": rows, "message": message}
        body |= {"replicates": replicates} if replicates else {}
        self.store.write_json(f"metrics/{cell.key}.json", body)

    def _rows(self, cell: Cell, kept: Json, wanted: list[str]) -> list[Json]:
        arrays = self.store.arrays(cell.key, kept)
        match cell.config["pass"]:
            case "time" | "likelihood-time":
                return time_rows(arrays, cell.config, kept["counts"]["calls"], kept["provenance"]["device"] != "cpu")
            case "round-trip":
                return round_trip_rows(arrays["error"])
            case "likelihood":
                offset = data.log_bin if (data := DATASETS.get(cell.model.data or "")) else 0.0
                nll = -(arrays["log_p"] / prod(cell.model.shape) + offset) / log(2)
                return likelihood_rows(arrays["error"], nll)
        return self.compared.rows(cell, arrays, set(wanted))


def measure(row: Json) -> str:
    """A metric with its features, as reports name it: under it stand the jackknife's replicates, by which cells pair."""
    return f"{row['metric']}[{row['features']}]"

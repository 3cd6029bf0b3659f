"""Result rows: tidy, one metric a row. Reports read these and the arrays of the cells, and nothing else."""

import json
from typing import Any

import pandas as pd

from .store import Json, Store

COLUMNS = (
    "cell suite pass model model_digest process solver options kind eta grid budget nfe_mean nfe_max calls vjps jvps "
    "dtype device threads n_samples seed_block metric features value low high unit floor status message commit "
    "package_version torch_version machine started seconds"
).split()


def rows_of(cell: Json, metrics: list[Json], suite: str) -> list[Json]:
    """The rows of one cell; one row without a metric when it was skipped or failed."""
    config, counts, provenance = cell["config"], cell["counts"], cell["provenance"]
    common: dict[str, Any] = {
        "cell": cell["key"],
        "suite": suite,
        "options": json.dumps(config["options"], sort_keys=True),
        "device": provenance["device"],
        "threads": provenance["threads"],
        "status": cell["status"],
        "message": cell["message"],
        **{
            k: config[k]
            for k in ("pass", "model", "model_digest", "process", "solver", "kind", "eta", "grid", "budget", "dtype")
        },
        **{"n_samples": config["n"], "seed_block": config["seed"]},
        **{k: counts.get(k) for k in ("nfe_mean", "nfe_max", "calls", "vjps", "jvps")},
        **{k: provenance[k] for k in ("commit", "package_version", "torch_version", "machine", "started", "seconds")},
    }
    empty = {"metric": None, "features": None, "value": None, "low": None, "high": None, "unit": None, "floor": None}
    return [
        {**common, **empty, **metric, "message": metric.get("note") or cell["message"]} for metric in metrics or [{}]
    ]


def load_rows(store: Store) -> pd.DataFrame:
    """Every row of every suite in the store, in the suite's order; UsageError at a damaged file."""
    rows: list[Json] = []
    for suite in store.suites():
        for key in suite["cells"]:
            if not store.has("cells", key):
                continue
            metrics = store.read_json(f"metrics/{key}.json")["rows"] if store.has("metrics", key) else []
            rows += rows_of(store.cell(key), metrics, suite["name"])
    return pd.DataFrame(rows, columns=COLUMNS)

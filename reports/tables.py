"""The tables of a report: every cell in one row, the best at each budget, and what did not work."""

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from .results import Results
from .verdicts import Verdict
from .wording import count

CELL = (
    "model process pass field solver label options kind eta grid budget status message n_samples seed_block "
    "dtype nfe_mean nfe_max calls vjps jvps"
).split()
ORIGIN = "cell model_digest device threads machine commit package_version torch_version started seconds".split()


def summary(results: Results) -> pd.DataFrame:
    """One row per cell: what it is, what it spent, each measure with its interval and floor, its origin."""
    cells = results.frame.drop_duplicates("cell").set_index("cell", drop=False)
    found: dict[str, pd.Series[float]] = {}
    for measure, rows in ((str(m), rows) for m, rows in results.frame.groupby("measure", sort=False)):
        if not measure:
            continue
        rows = rows.set_index("cell")
        for part, suffix in (("value", ""), ("low", " low"), ("high", " high"), ("floor", " floor")):
            if rows[part].notna().any():
                found[f"{measure}{suffix}"] = rows[part]
    return pd.concat([cells[CELL], pd.DataFrame(found, index=cells.index), cells[ORIGIN]], axis=1).reset_index(
        drop=True
    )


def best(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row per model, measure and budget; several names in one column are separated by semicolons."""
    table = pd.DataFrame([asdict(v) for v in verdicts], columns=list(Verdict.__annotations__))
    for column in ("ties", "memorisation"):
        table[column] = table[column].map("; ".join)
    return table


def troubles(results: Results) -> pd.DataFrame:
    """What was skipped or failed, with the cause; budgets with the same cause share a row."""
    cells = results.frame.drop_duplicates("cell")
    cells = cells[cells["status"] != "ok"]
    columns = ["status", "model", "pass", "label", "message"]
    if cells.empty:
        return pd.DataFrame(columns=[*columns, "budgets"])
    groups = cells.groupby(columns, sort=False)["budget"]
    table = groups.agg(listed).reset_index(name="budgets")
    return table.sort_values("status", kind="stable").reset_index(drop=True)


def listed(budgets: "pd.Series[float]") -> str:
    values: list[float] = sorted(budgets.astype(float))
    return ", ".join(map(count, values))


def floors(results: Results, model: str) -> dict[str, float]:
    """The real-against-real level of each measure that has one."""
    found = {}
    for name, measure, _, rows in results.principal("fid"):
        if name == model and rows["floor"].notna().any():
            found[measure] = float(rows["floor"].dropna().iloc[0])
    return found

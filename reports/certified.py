"""What the committed certificates say of the solvers in a store."""

from functools import cache
from pathlib import Path

import pandas as pd

from .results import Results

TABLE = Path(__file__).resolve().parent.parent / "results/certificates.csv"


@cache
def committed() -> pd.DataFrame:
    """The table of all checks; empty without the file."""
    columns = "id check claimed measured value low high passed".split()
    return pd.read_csv(TABLE)[columns] if TABLE.is_file() else pd.DataFrame(columns=columns)


def table(results: Results) -> tuple[list[str], list[list[str]]]:
    """A row for each certified solver: its order on VP, claimed and measured, and how many checks of its claims hold."""
    used, rows = {str(solver) for solver in results.frame["solver"]}, []
    for name, checks in committed().groupby("id"):
        if name not in used:
            continue
        judged = checks[checks["passed"].notna()]
        holds = judged["passed"].astype(str) == "True"
        order = checks[checks["check"].isin(["order on vp", "weak order on vp", "keeps p_t on vp"])]
        told = ["–", "–", "–"]
        if len(order):
            first = order.iloc[0]
            told = [first["check"], str(first["claimed"]), str(first["measured"])]
        failed = ", ".join(judged["check"][~holds])
        rows.append([str(name), *told, f"{holds.sum()} of {len(judged)}", failed or "–"])
    return ["solver", "check", "claimed", "measured", "claims that hold", "that do not"], rows

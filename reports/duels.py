"""Everyone against everyone at a budget: wins, ties and losses, corrected for the number of pairs."""

import pandas as pd

from .results import Results
from .verdicts import RANKED, below_floor, competing, paired

COLUMNS = "model measure field budget label cell value low high floor wins ties losses".split()


def duels(results: Results) -> pd.DataFrame:
    """One row for each entrant of each model, measure and budget, best first; who lies below the floor does not compete."""
    tables = []
    for metric in RANKED:
        for _, _, _, rows in results.groups(metric):
            for budget in sorted(rows["budget"].dropna().unique()):
                entrants = competing(rows, float(budget))
                entrants = entrants[~below_floor(entrants)].reset_index(drop=True)
                if len(entrants) > 1:
                    tables.append(counted(entrants, results).assign(budget=budget))
    return pd.concat(tables)[COLUMNS] if tables else pd.DataFrame(columns=COLUMNS)


def counted(entrants: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Entrants (k,) with their wins, ties and losses against the others."""
    k, judge, values = len(entrants), paired(entrants, results.arrays), entrants["value"].to_numpy(dtype=float)
    found = [judge.verdicts(values, one, k * (k - 1) // 2) for one in range(k)]
    wins, losses = [int((v > 0).sum()) for v in found], [int((v < 0).sum()) for v in found]
    return entrants.assign(
        wins=wins, ties=[k - 1 - won - lost for won, lost in zip(wins, losses, strict=True)], losses=losses
    )

"""Everyone against everyone at a budget: wins, ties and losses, corrected for the number of pairs."""

from collections.abc import Sequence

import pandas as pd

from .verdicts import Contest

COLUMNS = "model measure field budget label cell value low high floor wins ties losses".split()


def duels(contests: Sequence[Contest]) -> pd.DataFrame:
    """One row for each entrant of each model, measure and budget, best first."""
    tables = [counted(contest) for contest in contests if len(contest.ranked) > 1]
    return pd.concat(tables)[COLUMNS] if tables else pd.DataFrame(columns=COLUMNS)


def counted(contest: Contest) -> pd.DataFrame:
    """The entrants (k,) of one contest with their wins, ties and losses against the others."""
    k = len(contest.ranked)
    found = [contest.against(one, k * (k - 1) // 2) for one in range(k)]
    wins, losses = [int((v > 0).sum()) for v in found], [int((v < 0).sum()) for v in found]
    ties = [k - 1 - won - lost for won, lost in zip(wins, losses, strict=True)]
    return contest.ranked.assign(budget=contest.budget, wins=wins, ties=ties, losses=losses)

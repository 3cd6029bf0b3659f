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
    found = contest.judge.duels(contest.ranked["value"].to_numpy(dtype=float))
    wins, losses = (found > 0).sum(axis=1), (found < 0).sum(axis=1)
    ties = len(found) - 1 - wins - losses
    return contest.ranked.assign(budget=contest.budget, wins=wins, ties=ties, losses=losses)

"""Beside the literature: agreement of orders, which figures count, and that the names are those of registered solvers."""

import numpy as np
import pandas as pd
import pytest

from scorebench.reports import literature
from scorebench.reports.literature import agreement, order, published
from scorebench.reports.results import load
from scorebench.solvers.registry import find

TABLES = {"one": {"a": 1.0, "b": 2.0, "c": 3.0}, "two": {"a": 10.0, "b": 20.0}, "three": {"b": 5.0, "c": 6.0}}


def exact(**values: float) -> dict[str, literature.Value]:
    return {name: (value, value, value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("ours", "tau"), [(exact(a=1, b=2, c=3), 1.0), (exact(a=3, b=2, c=1), -1.0), (exact(a=1, b=3, c=2), 0.2)]
)
def test_tau_counts_the_pairs_of_each_table(ours, tau):
    found = agreement(ours, TABLES)
    assert (found.tau, found.pairs, found.tables) == (pytest.approx(tau), 5, 3)
    assert found.low <= found.tau <= found.high


def test_values_whose_intervals_overlap_have_no_order():
    assert [order((1, 0, 2), other) for other in ((3, 1, 5), (9, 3, 10), (-9, -10, -1))] == [0, -1, 1]
    assert agreement({"a": (1, 0, 3), "b": (2, 1, 4)}, TABLES).tau == 0


def test_two_tables_have_no_interval_and_none_no_tau():
    assert np.isnan(agreement(exact(a=1, b=2), {"one": {"a": 1.0, "b": 2.0}}).low)
    assert np.isnan(agreement(exact(a=1), TABLES).tau)


def test_our_names_are_solvers_and_every_figure_has_a_source():
    rows = pd.read_csv(literature.FIGURES)
    assert len(rows) > 1500 and rows["source"].notna().all()
    for name in rows["ours"].dropna().unique():
        assert find(name).id == name


def test_suspect_figures_do_not_count():
    rows = pd.read_csv(literature.FIGURES)
    suspect = rows[(rows["flag"] == "suspect") & (rows["dataset"] == "CIFAR-10") & rows["ours"].notna()]
    assert len(suspect)
    for row in suspect.itertuples():
        tables = published().get(int(row.nfe), {})
        assert tables.get(f"{row.paper}, {row.model}", {}).get(row.ours) != row.value


def test_a_store_that_shares_pairs_has_the_section(full_store):
    headings, rows = literature.agreements(load(full_store))
    assert headings[2] == "τ at 5 calls" and {row[0] for row in rows} >= {"digits-vp"}
    assert literature.beside(load(full_store))[1]

"""Across models: who won, tied and failed; who forgives a wrong score."""

import numpy as np
import pytest

from scorebench.reports import across, certified, robustness
from scorebench.reports.results import load
from scorebench.reports.verdicts import contests, verdict


@pytest.fixture
def errors():
    return np.random.default_rng(0).lognormal(0, 0.3, 64)


def judged(results):
    return [(contest, verdict(contest)) for contest in contests(results)]


def test_wins_ties_failures_and_factors_are_counted_over_models_and_budgets(build, errors):
    made = build()
    for model in ("one", "two"):
        made.errors(model, "exp-ab2", 10, errors)
        made.errors(model, "heun", 10, errors * 1.5)
    made.errors("one", "ddim", 10, errors * 3)
    made.cell("two", "ddim", 10, status="failed", message="diverged")
    made.errors("one", "exp-ab2", 20, errors)
    made.errors("one", "heun", 20, errors)
    results = load(made.finish())
    problems, found = across.standings(results, judged(results), "error_median")
    by_name = {s.label: (s.won, s.tied, s.failed, [round(float(r), 3) for r in s.ratios]) for s in found}
    assert problems == 3
    assert by_name == {
        "exp-ab2": (2, 1, 0, [1.0, 1.0, 1.0]), "heun": (0, 1, 0, [1.5, 1.0, 1.5]), "ddim": (0, 0, 1, [3.0])
    }  # fmt: skip
    assert [s.label for s in found] == ["exp-ab2", "heun", "ddim"]
    headings, rows = across.table(problems, found)
    assert dict(zip(headings, rows[2], strict=True))["entered"] == "1 of 3"
    assert "exp-ab2 is best or ties with the best in 3" in across.caption(problems, found)


def test_curves_need_three_sizes_of_error_on_one_model(build, errors):
    made = build()
    for size in ("", "?score_error=0.1", "?score_error=0.3", "?score_bias=0.1"):
        worse = 1 + 9 * float(size[-3:]) if "error" in size else 1.0
        made.errors(f"exact:gmm{size}", "ddim", 10, errors * worse)
        made.errors(f"exact:gmm{size}", "heun", 10, errors * 2)
    results = load(made.finish())
    ((model, measure, budget, rows),) = robustness.curves(results)
    assert (model, measure, budget) == ("exact:gmm", "error_median", 10.0)
    assert sorted(rows["wrong"].unique()) == [0.0, 0.1, 0.3] and len(rows) == 6
    said = robustness.caption(rows, budget)
    assert (
        "ddim is nearest with an exact score, and heun with an error of 0.3" in said and "most, 3.70, with ddim" in said
    )


def test_certificates_of_the_solvers_in_a_store_are_told(build, errors):
    made = build()
    made.errors("m", "ddim", 10, errors)
    _, rows = certified.table(load(made.finish()))
    (row,) = rows
    assert row[:3] == ["ddim", "order on vp", "1"] and row[4].split(" of ")[0] == row[4].split(" of ")[1]

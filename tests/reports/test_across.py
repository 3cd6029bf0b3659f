"""Across models: who won, tied and failed; who forgives a wrong score."""

import numpy as np
import pytest

from scorebench.reports import across, certified, robustness, winners
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


def test_the_winners_are_seen_at_a_glance_at_the_budgets_of_most_models(build, errors):
    made = build()
    for model in ("one", "two", "three"):
        for solver, factor in (("exp-ab2", 1.0), ("heun", 1.0 if model == "two" else 1.5), ("ddim", 3.0)):
            made.errors(model, solver, 10, errors * factor)
    made.errors("one", "heun", 20, errors)
    results = load(made.finish())
    found = winners.board(results, judged(results), "error_median")
    assert {place: (v.best, v.ties) for place, (v, _) in found.items()} == {
        ("one", 10.0): ("exp-ab2", ()), ("two", 10.0): ("exp-ab2", ("heun",)), ("three", 10.0): ("exp-ab2", ())
    }  # fmt: skip
    told = winners.caption(found)
    assert "strong where nobody does, in 2 of 3" in told
    assert told.endswith("Best or tied with the best on most models: at 10 calls exp-ab2 (3 of 3).")
    (ax,) = winners.chart("error_median", found).axes
    drawn = [text.get_text() for text in ax.texts]
    assert drawn[::2] == ["exp-ab2"] * 3 and sum(text.endswith("·  1 tie") for text in drawn) == 1
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(dict.fromkeys(m for m, _ in found))


SCATTER = np.sin(np.arange(20.0))  # of the replicates: common to all, so that differences have next to no interval


def distances(made, sizes=("", "?score_error=0.1", "?score_error=0.3", "?score_bias=0.1"), own=0.0):
    """ddim with the error costs 10 of its size, with noise 2 and half a unit more from the start; heun is farther by 1."""
    for address in sizes:
        size = float(address[-3:] or 0)
        for number, (solver, eta, value) in enumerate(
            (("ddim", 0.0, 1 + 10 * size), ("ddim", 1.0, 1.5 + 2 * size), ("heun", 0.0, 2 + 10 * size))
        ):
            without = value + 0.01 * SCATTER + own * np.cos(np.arange(20.0) * (number + 1))
            change = {"options": {"eta": eta} if eta else {}, "kind": "sde" if eta else "ode", "eta": eta}
            made.fid(f"exact:gmm{address}", solver, 10, value, 0.2, 0.1, without=without, **change)
    return list(robustness.studies(load(made.finish())))


def test_the_error_of_the_score_is_told_apart_from_the_solver(build):
    (study,) = distances(build())
    assert (study.model, study.measure, study.budget, study.most) == ("exact:gmm", "fid[digits-cnn]", 10.0, 0.3)
    assert list(study.named) == ["exact score", "error 0.1", "error 0.3", "bias 0.1"]
    added = {label: one.interval() for label, one in study.added(study.errors[0.3]).items()}
    assert {label: pytest.approx(value) for label, (value, _, _) in added.items()} == {
        "ddim": 3.0, "ddim (eta=1)": 0.6, "heun": 3.0
    }  # fmt: skip
    assert all(high - low < 1e-12 for _, low, high in added.values())
    _, headings, rows = robustness.table(study)
    lines = {row[0]: dict(zip(headings, row, strict=True)) for row in rows}
    assert lines["ddim"]["exact score"].startswith("* 1.00") and lines["ddim"]["error 0.3"].startswith("4.00")
    (ax,) = robustness.chart(study).axes
    assert [tick.get_text() for tick in ax.get_xticklabels()] == list(study.named) == headings[1:-1]
    assert [row[0] for row in rows] == ["ddim (eta=1)", "ddim", "heun"] and lines["heun"]["added by error 0.3"][
        :4
    ] == "3.00"


@pytest.mark.parametrize(("own", "verdicts"), [(0.0, [-1, 1]), (3.0, [0, 0])])
def test_noise_pays_where_the_difference_says_so(build, own, verdicts):
    (study,) = distances(build(), own=own)
    assert [robustness.noise(study.errors[size]).verdict for size in (0.0, 0.3)] == verdicts
    said = robustness.caption(study)
    if own:
        assert "Noise makes no sure difference with exact score, error 0.1, error 0.3 and bias 0.1." in said
    else:
        assert "an error of 0.3 of the score's size ddim (eta=1) is nearest, 2.10 [1.90, 2.30]." in said
        assert "Noise pays with error 0.1, error 0.3 and bias 0.1, costs with exact score." in said
        assert (
            "With error 0.3 the best with noise, ddim (eta=1), is nearer than the best without, ddim, by 1.90" in said
        )
        assert "To ddim error 0.3 adds η = 0: 3.00 [3.00, 3.00] and η = 1: 0.600 [0.600, 0.600]" in said
        assert "To ddim bias 0.1 adds η = 0: 1.00 [1.00, 1.00]" in said and said.count("less by") == 2


def test_two_sizes_of_the_error_are_too_few_to_tell(build):
    assert distances(build(), ("", "?score_error=0.3", "?score_bias=0.1")) == []


def test_certificates_of_the_solvers_in_a_store_are_told(build, errors):
    made = build()
    made.errors("m", "ddim", 10, errors)
    _, rows = certified.table(load(made.finish()))
    (row,) = rows
    assert row[:3] == ["ddim", "order on vp", "1"] and row[4].split(" of ")[0] == row[4].split(" of ")[1]

"""What figures are made of: names that do not overlap, one look per solver, captions that conclude."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorebench.reports import style
from scorebench.reports.axes import spread
from scorebench.reports.captions import of_strip
from scorebench.reports.figures import all_pictures
from scorebench.reports.results import load
from scorebench.reports.strip import blocks
from scorebench.reports.verdicts import best_at_each_budget, best_at_each_time
from scorebench.reports.wording import count, names, number, slug, with_interval


@given(st.lists(st.floats(-0.5, 1.5), min_size=1, max_size=40), st.floats(0.005, 0.2))
def test_spread_keeps_order_distance_and_bounds(targets, gap):
    places = spread(np.array(targets), gap)
    gap = min(gap, 1 / max(len(targets) - 1, 1))
    order = np.argsort(targets, kind="stable")
    assert (np.diff(places[order]) >= gap - 1e-9).all()
    assert places.min() >= -1e-9 and places.max() <= 1 + 1e-9


def test_spread_leaves_alone_what_is_apart():
    assert spread(np.array([0.9, 0.1, 0.5]), 0.05) == pytest.approx([0.9, 0.1, 0.5])


def test_every_named_solver_has_its_own_look():
    looks = {(style.colour(name), style.marker(name)) for name in style.NAMED}
    assert len(looks) == len(style.NAMED)
    assert len({style.colour(name) for name in style.NAMED[:10]}) == 10


@pytest.mark.parametrize("name", ["someone-elses", "unipc-2"])
def test_a_solver_without_a_name_here_looks_like_no_named_one(name):
    assert style.slot(name) == style.slot(name) >= len(style.NAMED)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.02134, "0.0213"), (0.021, "0.0210"), (1, "1.00"), (12.34, "12.3"), (123.4, "123"), (12345, "12300"),
     (99.96, "100"), (0.9999, "1.00"), (1.5e-5, "1.50e-5"), (-0.5, "-0.500"), (0, "0"), (math.nan, "–")],
)  # fmt: skip
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_words():
    assert [count(v) for v in (10.0, 14.2, math.nan)] == ["10", "14.2", "–"]
    assert with_interval(0.5, 0.25, 1) == "0.500 [0.250, 1.00]"
    assert with_interval(0.5, None, math.nan) == "0.500"
    assert slug("exact:gmm?process=ve") == "exact-gmm-process-ve"


@pytest.mark.parametrize(
    ("items", "text"),
    [("", ""), ("a", "a"), ("ab", "a and b"), ("abcd", "a, b, c and d"), ("abcde", "a, b, c and 2 more")],
)
def test_lists_are_cut_where_they_grow_long(items, text):
    assert names(list(items), 3) == text


@pytest.fixture(scope="module")
def pictures(full_store):
    results = load(full_store)
    found = all_pictures(results, best_at_each_budget(results), best_at_each_time(results))
    return {picture.file: picture for picture in found}


@pytest.mark.parametrize(
    ("file", "caption"),
    [
        ("error-nfe-digits-vp.png", "At 10 calls exp-ab2 has the smallest median error, 0.0"),
        (
            "fid-digits-cnn-nfe-digits-vp.png",
            "where real against real data gives 0.900; dpmpp-2m ties with it.",
        ),
        ("likelihood-nfe-digits-vp.png", "At 10 calls exp-ab2 has the smallest likelihood error"),
        ("error-ms-digits-vp.png", "Within 200 ms exp-ab2 has the smallest median error"),
        ("strip-digits-vp.png", "at 5 calls exp-ab2 comes nearest, with a median error of 0.0"),
    ],
)
def test_captions_conclude(pictures, file, caption):
    assert caption in pictures[file].caption
    assert pictures[file].caption.endswith(".") and "\n" not in pictures[file].caption


def test_the_strip_shows_images_or_the_reason_why_not(full_store):
    shown = blocks(load(full_store), "digits-vp")
    assert shown is not None and shown.budgets == (5, 10, 20)
    assert shown.rows["dpm-solver-3"][1][0] == "needs 6 network calls"
    assert isinstance(shown.rows["ddim"][1][0], np.ndarray)
    assert "rk45" not in shown.rows  # no tolerance fits a budget that is shown


def test_the_strip_shows_the_eight_solvers_that_rank_best(build):
    made, images = build(), np.zeros((8, 1, 4, 4), np.float32)
    for place in range(11):
        for budget in (5, 10):
            error = np.full(64, (place + 1) / budget)
            arrays = {"index": np.arange(64), "error": error, "strip": images}
            made.errors("digits-vp", f"solver-{10 - place:02}", budget, error, arrays=arrays)
    results = load(made.finish())
    shown = blocks(results, "digits-vp")
    assert shown is not None and list(shown.rows) == [f"solver-{n:02}" for n in range(10, 2, -1)]
    told = of_strip(results, "digits-vp", shown)
    assert told.startswith("The best 8 of 11 solvers") and "solver-10 comes nearest" in told
    assert "solver-03 stays farthest" in told


def test_a_label_of_the_users_is_no_formula(build):
    """Dollar signs and long names must not break a figure."""
    made = build()
    made.errors("m", "my$solver$_{x", 10, np.ones(64))
    made.errors("m", "a-" * 30, 10, np.ones(64))
    results = load(made.finish())
    assert len(all_pictures(results, best_at_each_budget(results), [])) == 1


def test_a_distance_of_zero_or_below_does_not_break_a_figure(build):
    made = build()
    made.fid("m", "ddim", 10, -9e-16, 0.1, 0.0)
    made.fid("m", "heun", 10, 0.5, 0.7, 0.0)
    made.fid("zero", "heun", 10, 0.0, 0.7, 0.0)
    results = load(made.finish())
    assert len(all_pictures(results, best_at_each_budget(results), [])) == 2


def test_a_value_without_an_interval_is_drawn_and_ties_with_what_is_near(build):
    made = build()
    for solver in ("ddim", "heun"):
        rows = [{"metric": "fid", "features": "x", "value": 1.0, "low": None, "high": None, "unit": "", "floor": None}]
        made.cell("m", solver, 10, rows=rows)
        made.cell("m", solver, 20, status="failed", message="diverged")
    results = load(made.finish())
    (verdict,) = best_at_each_budget(results)
    assert (verdict.best, verdict.ties) == ("ddim", ("heun",))
    assert all_pictures(results, [verdict], [])[0].file == "fid-x-nfe-m.png"

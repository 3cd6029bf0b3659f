"""The report's analysis of variance: which combinations it takes, what it says, its tables and its chart."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scorebench.reports import attribution
from scorebench.reports.report import analysed, contents
from scorebench.reports.results import load

GRIDS, ENDS = ("karras", "logsnr"), ("own", "denoise")


def crossed(build: Any, budgets: tuple[int, ...] = (6, 12), lost: int | None = None, n: int = 60) -> Path:
    """Order 2 against 1, two grids and two endings: the order halves log errors at 6 calls, the grid does nothing ever."""
    made, given = build(n), {}
    own = np.random.default_rng(0).normal(size=n)
    for budget, (order, grid, end) in product(budgets, product((1, 2), GRIDS, ENDS)):
        if budget == lost and (order, grid, end) == (2, "logsnr", "own"):
            continue
        size = (
            -2.0 * (order == 2) + 0.5 * (end == "denoise") + 0.2 * np.random.default_rng([order, budget]).normal(size=n)
        )
        options = {"denoise": True} if end == "denoise" else {}
        change = {"grid": grid, "options": options}
        key = made.errors("gmm-2d", "ddim" if order == 1 else "exp-ab2", budget, np.exp(own + size), **change)
        given[key] = {"end": end, "grid": grid, "order": str(order)}
    root = Path(made.finish())
    suite = made.store.read_json("suites/quick.json")
    made.store.write_json("suites/quick.json", suite | {"levels": given})
    return root


def test_shares_and_main_effects_are_those_of_the_errors(build) -> None:  # type: ignore[no-untyped-def]
    found = list(attribution.crossings(load(crossed(build))))
    assert [(c.model, c.budget, c.log_error.shape) for c in found] == [("gmm-2d", b, (60, 2, 2, 2)) for b in (6, 12)]
    shares = attribution.shares(found).set_index(["budget", "term"])
    expected = 1.0 / (1.0 + 0.0625 + 0.02)  # variances: 1 of the order, ¼² of the ending, half of 0.2² of the samples
    assert shares.loc[(6, "order"), "share"] == pytest.approx(expected, abs=0.02)
    assert abs(shares.loc[(6, "grid"), "share"]) < 1e-12 and shares.loc[(6, "sample × all"), "df"] == 59 * 7
    assert (shares["low"] <= shares["share"]).all() and (shares["share"] <= shares["high"]).all()
    ratios = attribution.effects(found).set_index(["budget", "factor", "level"])["ratio"]
    assert ratios[6, "order", "2"] == pytest.approx(np.exp(-1), rel=0.1)
    assert ratios[6, "end", "own"] == pytest.approx(np.exp(-0.25), rel=1e-9) and ratios[12, "grid", "karras"] == 1


@pytest.mark.parametrize(("lost", "n", "left"), [(6, 60, [12.0]), (None, 39, [])])
def test_only_complete_crossings_of_enough_samples_are_analysed(
    build, lost: int | None, n: int, left: list[float]
) -> None:  # type: ignore[no-untyped-def]
    store = crossed(build, lost=lost, n=n)
    assert [c.budget for c in attribution.crossings(load(store))] == left
    assert ("attribution.csv" in analysed(load(store))) == bool(left)


def test_the_report_has_the_table_the_chart_and_a_sentence(build) -> None:  # type: ignore[no-untyped-def]
    files = contents(crossed(build))
    assert {"attribution.csv", "main_effects.csv", "quick-gmm-2d.png"} <= set(files)
    for told in (files["report.html"].decode(), files["report.md"].decode()):
        assert "Which choice makes the error: shares of the variance of log errors within 60 samples" in told
        assert "At 12 calls most of the variance of log errors within samples is made by order 9" in told
        assert "order 2 (× 0.3" in told and "end own (× 0.779 [0.779, 0.779])" in told
        assert "grid karras (× 1.00 [1.00, 1.00]; logsnr ties with it)" in told


def test_errors_to_another_truth_do_not_compete(build) -> None:  # type: ignore[no-untyped-def]
    fields = load(crossed(build)).frame.groupby("label")["field"].agg(set)
    ended = {label: {field.endswith(", denoised") for field in found} for label, found in fields.items()}
    assert {label: kinds for label, kinds in ended.items() if kinds != {"denoise" in label}} == {}


def test_stores_without_factors_have_none(full_store: Path) -> None:
    assert list(attribution.crossings(load(full_store))) == []

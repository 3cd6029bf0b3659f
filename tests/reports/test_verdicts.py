"""Who is best and who ties: decided right where the truth is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from scorebench.bench.pairing import by_sample, mean, median
from scorebench.reference_models.errors import UsageError
from scorebench.reports.duels import duels
from scorebench.reports.results import Results, load
from scorebench.reports.verdicts import (
    Contest,
    Verdict,
    aligned,
    best_at_each_budget,
    best_at_each_time,
    contests,
    limits,
    most_accurate,
)
from scorebench.reports.verdicts import verdict as decide

N = 200


@pytest.fixture
def errors():
    """Heavy-tailed errors (n,) as solvers have them."""
    return np.random.default_rng(0).lognormal(0, 1, N)


def verdict(results: Results, budget: float = 10, metric: str = "error_median") -> Verdict:
    (found,) = [v for v in best_at_each_budget(results) if v.budget == budget and v.metric == metric]
    return found


def test_a_median_that_is_eight_times_the_other_wins_with_few_samples() -> None:
    """Of 32 paired errors over orders of magnitude ratios tell it, differences rarely; neither tells equals apart."""
    generator, wins, false = np.random.default_rng(1), np.zeros(2), np.zeros(2)
    for _ in range(100):
        z = generator.standard_normal((2, 32))
        equal = np.exp(2 * np.stack([z[0], 0.9 * z[0] + 0.19**0.5 * z[1]]))
        for ratios in (False, True):
            for found, errors in ((wins, equal * [[1], [8]]), (false, equal)):
                judge = by_sample(errors, median, ratios)
                found[int(ratios)] += judge.verdicts(np.median(errors, axis=1), 0, 10 if found is wins else 1)[1] != 0
    assert wins[0] < 30 and wins[1] > 90
    assert (false <= 9).all()  # 5 expected at most


def test_an_error_of_nothing_beats_any_other() -> None:
    errors = np.stack([np.zeros(20), np.full(20, 1e-9)])
    assert by_sample(errors, median, ratios=True).verdicts(np.array([0, 1e-9]), 0, 1).tolist() == [0, 1]


def test_identical_errors_tie(build, errors):
    made = build()
    made.errors("m", "ddim", 10, errors)
    made.errors("m", "heun", 10, errors)
    got = verdict(load(made.finish()))
    assert (got.best, got.ties, got.entrants) == ("ddim", ("heun",), 2)


def test_clearly_different_errors_do_not_tie(build, errors):
    made = build()
    made.errors("m", "ddim", 10, 2 * errors)
    made.errors("m", "heun", 10, errors)
    got = verdict(load(made.finish()))
    assert (got.best, got.ties) == ("heun", ())


def test_pairing_separates_what_overlaps(build, errors):
    """A solver worse by 2 % on every sample is worse, though the intervals of both medians overlap by far."""
    made = build()
    made.errors("m", "ddim", 10, 1.02 * errors)
    made.errors("m", "heun", 10, errors)
    got = verdict(load(made.finish()))
    assert (got.best, got.ties) == ("heun", ())
    assert got.high > 1.02 * got.value


def test_unpaired_noise_of_that_size_ties(build):
    made, generator = build(), np.random.default_rng(1)
    made.errors("m", "ddim", 10, generator.lognormal(0, 1, N))
    made.errors("m", "heun", 10, generator.lognormal(0.02, 1, N))
    assert len(verdict(load(made.finish())).ties) == 1


def test_pairing_follows_the_index_not_the_order(build, errors):
    made = build()
    order = np.random.default_rng(2).permutation(N)
    made.errors("m", "ddim", 10, 1.02 * errors)
    made.errors("m", "heun", 10, errors[order], arrays={"index": order, "error": errors[order]})
    assert verdict(load(made.finish())).ties == ()


def test_other_samples_do_not_pair(build, errors):
    made = build()
    made.errors("m", "ddim", 10, errors)
    made.errors("m", "heun", 10, errors, arrays={"index": np.arange(N) + 1, "error": errors})
    with pytest.raises(UsageError, match="hold different samples"):
        best_at_each_budget(load(made.finish()))


def test_unequal_n_is_never_compared(build, errors):
    made = build()
    made.errors("m", "ddim", 10, errors)
    made.errors("m", "heun", 10, errors[:50])
    results = load(made.finish())
    found = best_at_each_budget(results)
    assert sorted((v.best, v.n, v.entrants) for v in found) == [("ddim", N, 1), ("heun", 50, 1)]
    rows = most_accurate(results.frame[results.frame["metric"] == "error_median"])
    with pytest.raises(UsageError, match=r"cannot compare .*n = \d+.*only equal n"):
        decide(Contest(rows, results.arrays, 10, "calls"))


def test_the_deviation_agrees_with_theory(errors):
    """For means the bootstrap must give the textbook standard error of the mean difference."""
    other = errors + np.random.default_rng(3).normal(0, 0.1, N)
    sd = by_sample(np.stack([errors, other]), mean).deviation(0)
    assert sd[0] == 0
    assert sd[1] == pytest.approx((other - errors).std(ddof=1) / np.sqrt(N), rel=0.08)  # 1/√(2·1000) is 2 %


def test_more_entrants_make_ties_likelier(build, errors):
    """A difference of 2.3 deviations is real between two, and a tie among thirty-two."""
    noise = np.random.default_rng(4).normal(size=32)
    base = np.full(32, 5.0)
    close = base + (noise - noise.mean()) / noise.std(ddof=1) + 2.3 / np.sqrt(32)
    made = build()
    for model in ("few", "many"):
        made.likelihood(model, "ddim", 10, base)
        made.likelihood(model, "heun", 10, close)
    for k in range(30):
        made.likelihood("many", f"other-{k}", 10, base + 50 + k)
    found = {v.model: v for v in best_at_each_budget(load(made.finish()))}
    assert found["few"].ties == () and found["many"].ties == ("heun",)


def test_likelihood_errors_count_by_size_not_by_sign(build):
    made, noise = build(), np.random.default_rng(5).normal(0, 0.01, 32)
    made.likelihood("m", "ddim", 10, -2 + noise)
    made.likelihood("m", "heun", 10, 1 + noise)
    got = verdict(load(made.finish()), metric="likelihood_error")
    assert (got.best, got.ties) == ("heun", ())


def test_an_adaptive_method_competes_with_its_best_tolerance_that_fits(build, errors):
    made = build()
    made.errors("m", "ddim", 20, errors)
    for rtol, nfe, factor in ((1e-1, 14.0, 0.5), (1e-2, 19.5, 0.2), (1e-3, 20.5, 0.01)):
        made.errors("m", "rk45", None, factor * errors, options={"rtol": rtol}, nfe=nfe)
    got = verdict(load(made.finish()), 20)
    assert (got.best, got.nfe) == ("rk45", 19.5)


def test_fixed_steps_compete_at_exactly_their_budget_and_never_above(build, errors):
    made = build()
    made.errors("m", "ddim", 10, 0.1 * errors)
    made.errors("m", "ddim", 20, 0.2 * errors)
    made.errors("m", "heun", 20, errors)
    made.errors("m", "exp-ab2", 20, 0.01 * errors, nfe=21)
    got = verdict(load(made.finish()), 20)
    assert (got.best, got.value, got.entrants) == ("ddim", pytest.approx(0.2 * np.median(errors)), 2)


def test_options_are_entries_of_their_own(build, errors):
    made = build()
    made.errors("m", "ddim", 10, errors, options={"eta": 0.5})
    made.errors("m", "ddim", 10, 2 * errors)
    assert verdict(load(made.finish())).best == "ddim (eta=0.5)"


def test_a_grid_is_named_where_it_varies(build, errors):
    made = build()
    made.errors("m", "ddim", 10, errors, grid="karras")
    made.errors("m", "ddim", 10, 2 * errors)
    made.errors("m", "heun", 10, 3 * errors)
    assert set(load(made.finish()).frame["label"]) == {"ddim · karras", "ddim · logsnr", "heun"}


@pytest.mark.parametrize(("half", "ties"), [(0.2, ()), (1.0, ("heun",))])
def test_fid_ties_by_the_intervals_of_both(build, half, ties):
    made = build()
    made.fid("m", "ddim", 10, 3.0, half, 0.5)
    made.fid("m", "heun", 10, 4.0, half, 0.5)
    got = verdict(load(made.finish()), metric="fid")
    assert (got.best, got.measure, got.ties) == ("ddim", "fid[digits-cnn]", ties)


@pytest.mark.parametrize(("own", "ties"), [(0.01, ()), (0.3, ("heun",))])
def test_fid_pairs_by_the_groups_left_out(build, own, ties):
    """Intervals of ±1 overlap by far; what both cells share when groups are left out does not count."""
    made, generator = build(), np.random.default_rng(0)
    common = 0.1 * generator.normal(size=20)
    for solver, value in (("ddim", 3.0), ("heun", 3.5)):
        without = value + common + own / 4 * generator.normal(size=20)
        made.fid("m", solver, 10, value, 1.0, 0.5, without=without)
    assert verdict(load(made.finish()), metric="fid").ties == ties


def test_duels_count_wins_ties_and_losses(build, errors):
    made = build()
    for solver, factor in (("ddim", 2.0), ("heun", 1.0), ("exp-ab2", 1.0), ("dpmpp-2m", 4.0)):
        made.errors("m", solver, 10, factor * errors)
    found = duels(list(contests(load(made.finish())))).set_index("label")
    assert found[["wins", "ties", "losses"]].to_numpy().tolist() == [[2, 1, 0], [2, 1, 0], [1, 0, 2], [0, 0, 3]]


def test_an_error_below_the_references_uncertainty_is_no_memorisation(build, errors):
    made = build()
    row = {"metric": "error_median", "features": None, "unit": "", "value": 1.0, "low": 0.9, "high": 1.1, "floor": 2.0}
    made.errors("m", "ddim", 10, errors, rows=[row])
    got = verdict(load(made.finish()))
    assert (got.best, got.memorisation) == ("ddim", ())


def test_below_the_floor_is_memorisation_and_no_win(build):
    made = build()
    made.fid("m", "ddim", 10, 0.3, 0.1, 0.9)
    made.fid("m", "heun", 10, 0.8, 0.2, 0.9)  # below the floor, but within its interval
    made.fid("m", "exp-ab2", 10, 3.0, 0.1, 0.9)
    got = verdict(load(made.finish()), metric="fid")
    assert (got.best, got.memorisation, got.ties) == ("heun", ("ddim",), ())


def test_a_floor_that_is_not_known_well_accuses_nobody(build):
    made = build()
    made.fid("m", "ddim", 10, 0.3, 0.1, 0.9, floor_half=0.4)
    got = verdict(load(made.finish()), metric="fid")
    assert (got.best, got.memorisation) == ("ddim", ())


def test_nobody_wins_where_all_lie_below_the_floor(build):
    made = build()
    made.fid("m", "ddim", 10, 0.3, 0.1, 0.9)
    got = verdict(load(made.finish()), metric="fid")
    assert (got.best, got.cell, got.memorisation) == ("", "", ("ddim",)) and np.isnan(got.value)


@pytest.mark.parametrize("newer", ["before", "after"])
def test_the_latest_of_two_measurements_counts(build, errors, newer):
    made = build()
    for source, factor in (("before", 1), ("after", 3)):
        year = 2027 if source == newer else 2026
        started = f"{year}-01-01T00:00:00+00:00"
        made.errors("m", "ddim", 10, factor * errors, source=source, started=started)
    factor = 3 if newer == "after" else 1
    got = verdict(load(made.finish()))
    assert (got.entrants, got.value) == (1, pytest.approx(factor * np.median(errors)))


def test_best_within_a_time(full_store):
    found = {v.budget: v for v in best_at_each_time(load(full_store))}
    assert set(found) == {50, 100, 200, 500, 1000}
    assert found[50].best == "exp-ab2" and found[1000].best == "rk45"
    assert all(v.budget_unit == "ms" and v.model == "digits-vp" for v in found.values())


def test_limits_run_from_the_first_met_to_the_first_met_by_all():
    assert list(limits(pd.Series([0.7, 30.0]))) == [1, 2, 5, 10, 20, 50]
    assert list(limits(pd.Series([], dtype=float))) == []


def test_aligned_treats_lost_samples_as_infinitely_bad(build, errors):
    made = build()
    errors[3] = np.nan
    key = made.errors("m", "ddim", 10, errors, rows=[])
    results = load(made.finish())
    assert aligned(results.frame[results.frame["cell"] == key], results.arrays)[0, 3] == np.inf


def test_verdicts_name_the_cell_they_come_from(full_store):
    results = load(full_store)
    for v in best_at_each_budget(results):
        row = results.frame[(results.frame["cell"] == v.cell) & (results.frame["measure"] == v.measure)].iloc[0]
        assert (row["label"], row["value"], row["model"]) == (v.best, v.value, v.model)
        assert dataclasses.asdict(v)["nfe"] <= v.budget


@pytest.mark.parametrize(("ours", "theirs"), [(median, np.median), (mean, np.mean)])
@pytest.mark.parametrize("n", [1, 2, 7, 400])
def test_a_statistic_of_counted_draws_is_that_of_the_drawn_values(ours, theirs, n):
    generator = np.random.default_rng(n)
    values, drawn = np.sort(generator.lognormal(size=n)), generator.integers(n, size=(30, n))
    times = np.stack([np.bincount(row, minlength=n) for row in drawn], 1)
    np.testing.assert_allclose(ours(values, times), theirs(values[drawn], axis=1), rtol=1e-14)

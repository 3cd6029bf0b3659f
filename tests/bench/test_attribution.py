"""The analysis of variance: by hand on a small table, effects of known size, none at all, and its intervals."""

from itertools import product

import numpy as np
import pytest

from scorebench.bench.attribution import analysis, effect, main_effects

FACTORS = ("order", "grid", "last step")


def shares(log_error: np.ndarray, factors: tuple[str, ...]) -> dict[str, float]:
    return {term.name: term.share.value for term in analysis(log_error, factors)}


def table(n: int, scatter: float, seed: int, order: float = 0.0, both: float = 0.0) -> np.ndarray:
    """Log errors (n, 2, 3, 2) of samples unlike one another: ±order, an interaction ±both with the ends of the grids, noise."""
    draw = np.random.default_rng(seed)
    sign, slope = np.array([-1.0, 1.0])[:, None, None], np.array([-1.0, 0.0, 1.0])[:, None]
    own = 3 * draw.normal(size=(n, 1, 1, 1))
    return own + order * sign + both * sign * slope + scatter * draw.normal(size=(n, 2, 3, 2))


def test_two_levels_by_hand() -> None:
    """One factor: differences d_i to the mean level; ε² = (SS − MS_error) / (SS + SS_error) of the paired t-test."""
    draw = np.random.default_rng(0)
    y = draw.normal(size=(50, 1)) + np.array([0.0, 0.7]) + 0.5 * draw.normal(size=(50, 2))
    difference = y[:, 1] - y[:, 0]
    of_effect, of_error = 50 * difference.mean() ** 2 / 2, difference.var() * 50 / 2
    expected = (of_effect - of_error / 49) / (of_effect + of_error)
    found = analysis(y, ("grid",))
    assert [term.name for term in found] == ["grid", "sample × all"] and [term.freedom for term in found] == [1, 49]
    assert found[0].share.value == pytest.approx(expected, rel=1e-12)
    assert found[1].share.value == pytest.approx(1 - expected, rel=1e-12)


def test_sums_of_squares_are_those_of_least_squares() -> None:
    """Each term's effects are what a regression with dummy variables adds to all smaller terms; in any order of the factors."""
    y = table(40, 1.0, 1, order=0.3, both=0.2)
    cells = np.array(list(product(range(2), range(3), range(2))))

    def fitted(terms: list[tuple[int, ...]]) -> np.ndarray:
        columns = [np.ones(len(cells))]
        for term in terms:
            levels = [np.unique(cells[:, k]) for k in term]
            for wanted in product(*levels):
                columns.append((cells[:, list(term)] == wanted).all(1).astype(float))
        design = np.stack(columns, 1)
        return np.asarray(design @ np.linalg.lstsq(design, y.reshape(40, -1).T, rcond=None)[0]).T

    for term, smaller in (((0,), []), ((0, 1), [(0,), (1,)]), ((0, 1, 2), [(0, 1), (0, 2), (1, 2)])):
        added = fitted([*smaller, term]) - fitted(smaller)
        found = effect(y, term)
        assert np.square(found).sum() * 12 / found[0].size == pytest.approx(np.square(added).sum(), rel=1e-9)
    turned = y.transpose(0, 3, 1, 2)
    assert shares(y, FACTORS)["order × grid"] == pytest.approx(
        shares(turned, ("last step", "order", "grid"))["order × grid"], rel=1e-12
    )


def test_known_effects_are_recovered() -> None:
    """Variances between combinations: 0.25 of the order, 0.09·⅔ of order × grid, and 0.2² of the residual, less 1/12 of it."""
    rest = 0.2**2 * 11 / 12
    total = 0.25 + 0.06 + rest
    found = {term.name: term.share for term in analysis(table(400, 0.2, 2, order=0.5, both=0.3), FACTORS)}
    for name, expected in (
        ("order", 0.25),
        ("order × grid", 0.06),
        ("sample × all", rest),
        ("grid", 0),
        ("last step", 0),
    ):
        value, low, high = found[name].interval(0.999)  # of five, all are to hold
        assert low <= expected / total <= high and high - low < 0.05
        assert value == pytest.approx(expected / total, abs=0.01)
    assert sum(share.value for share in found.values()) == pytest.approx(1, abs=1e-12)


def test_without_effects_intervals_hold_zero() -> None:
    """Of 7 terms in 60 tables of scatter alone; shares lie on both sides of 0, as those of an unbiased estimate do."""
    terms = [term for seed in range(60) for term in analysis(table(60, 1.0, seed), FACTORS) if term.factors]
    held = [low <= 0 <= high for _, low, high in (term.share.interval() for term in terms)]
    values = np.array([term.share.value for term in terms])
    assert 0.9 <= np.mean(held) <= 1
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values)) and (values < 0).mean() > 0.3


def test_main_effects_are_ratios_to_the_geometric_mean() -> None:
    levels = {"order": ["1", "2"], "grid": ["a", "b", "c"], "last step": ["x", "y"]}
    found = {(e.factor, e.level): e.log_ratio for e in main_effects(table(400, 0.2, 3, order=0.5), levels)}
    assert len(found) == 7 and found["order", "1"].value == pytest.approx(-0.5, abs=0.02)
    for (factor, level), ratio in found.items():
        expected = {"1": -0.5, "2": 0.5}.get(level, 0.0) if factor == "order" else 0.0
        _, low, high = ratio.interval(0.999)
        assert low <= expected <= high
    assert sum(found["grid", level].value for level in "abc") == pytest.approx(0, abs=1e-12)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 40 samples, got 39"):
        analysis(table(39, 1.0, 0), FACTORS)

"""Which choices make the error: an analysis of variance of log errors over crossed choices, and the choices' main effects.

All combinations start from the same latents, so the sample is a block (a repeated-measures design): what belongs to it alone
is taken out first, and every term is judged against its own interaction with the sample. Of complete crossings the sums of
squares are those of orthogonal projections, whatever the order of the terms. Shares are Kelley's ε² (1935,
doi:10.1073/pnas.21.9.554), of the variance within samples: an unbiased estimate, which for a term without effect lies about
0, below it as often as above. What is left is how differently the samples take the same combination. Intervals leave out
groups of samples (`jackknife`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .jackknife import GROUPS, KEPT, Jackknifed, by_group

RESIDUAL = "sample × all"


@dataclass(frozen=True)
class Term:
    """A main effect, an interaction, or the residual: its degrees of freedom and its share of the variance within samples."""

    factors: tuple[str, ...]
    freedom: int
    share: Jackknifed

    @property
    def name(self) -> str:
        return " × ".join(self.factors) or RESIDUAL


@dataclass(frozen=True)
class Effect:
    """What one level of a factor does: the logarithm of the ratio of its geometric mean error to that of all levels."""

    factor: str
    level: str
    log_ratio: Jackknifed


def analysis(log_error: np.ndarray, factors: Sequence[str]) -> list[Term]:
    """The terms of log errors (n, levels of the first factor, …), largest share first, the residual last.

    Shares add up to 1. ValueError for fewer samples than the jackknife needs.
    """
    n, *levels = log_error.shape
    if n < 2 * GROUPS:
        raise ValueError(f"an analysis of variance needs {2 * GROUPS} samples, got {n}")
    subsets = [s for k in range(1, len(levels) + 1) for s in combinations(range(len(levels)), k)]
    squares, systematic = np.stack([mean_squares(effect(log_error, s).reshape(n, -1)) for s in subsets], axis=1)
    shares = systematic / squares.sum(0)
    terms = [
        Term(tuple(factors[k] for k in s), int(np.prod([levels[k] - 1 for k in s])), Jackknifed.of(share))
        for s, share in zip(subsets, shares, strict=True)
    ]
    rest = Term((), (n - 1) * (int(np.prod(levels)) - 1), Jackknifed.of(1 - shares.sum(0)))
    return [*sorted(terms, key=lambda term: -term.share.value), rest]


def effect(values: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """Of each sample what the combination of these factors adds to what fewer of them do: (n, their levels), of (n, levels…)."""
    others = tuple(k + 1 for k in range(values.ndim - 1) if k not in factors)
    found: np.ndarray = values.mean(axis=others)
    for axis in range(1, found.ndim):
        found = found - found.mean(axis=axis, keepdims=True)
    return found


def mean_squares(effects: np.ndarray) -> np.ndarray:
    """Of effects (n, c) the mean square, and that of their means over the samples less what scatter alone makes of it.

    (2, GROUPS + 1): each with every sample, and with each group left out.
    """
    square, means = over_samples(np.square(effects).mean(1, keepdims=True))[:, 0], over_samples(effects)
    count = KEPT @ np.array([len(part) for part in by_group(effects)])
    of_means = np.square(means).mean(1)
    return np.stack([square, of_means - (square - of_means) / (count - 1)])


def over_samples(values: np.ndarray) -> np.ndarray:
    """Means (GROUPS + 1, c) of values (n, c): over every sample, and with each group left out."""
    parts = by_group(values)
    counts = np.array([len(part) for part in parts])
    return np.asarray(KEPT @ np.array([part.sum(0) for part in parts]) / (KEPT @ counts)[:, None])


def main_effects(log_error: np.ndarray, levels: dict[str, list[str]]) -> Iterator[Effect]:
    """Of log errors (n, levels of the first factor, …) what each level of each factor does, averaged over the others."""
    for place, (factor, names) in enumerate(levels.items()):
        for name, mean in zip(names, over_samples(effect(log_error, (place,))).T, strict=True):
            yield Effect(factor, name, Jackknifed.of(mean))

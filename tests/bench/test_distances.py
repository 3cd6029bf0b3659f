"""Distances between feature sets: against torch-fidelity and POT, and their intervals on data whose answer is known."""

import numpy as np
import ot
import pytest

from scorebench.bench.distances import (
    PROJECTIONS,
    Frechet,
    Gauss,
    Kernel,
    frechet,
    precision_recall,
    sliced_wasserstein,
)
from scorebench.bench.jackknife import GROUPS, Jackknifed, mean
from scorebench.reference_models.torchvision_repair import repair

repair()
from torch_fidelity.metric_kid import kernel_mmd  # noqa: E402

OPTIONS = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_frechet_distance_of_known_gaussians(rng: np.random.Generator) -> None:
    """|Δm|² + Σ (√v − √w)² for diagonal covariances, on 200,000 draws."""
    a = rng.normal(size=(200_000, 3))
    b = rng.normal(size=(200_000, 3)) * [2.0, 0.5, 1.0] + [0.3, 0.0, 0.0]
    assert frechet(a, b) == pytest.approx(0.09 + 1 + 0.25, rel=0.03)
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("n", "k"), [(103, 2), (400, 16)])
def test_fid_and_its_replicates_are_torch_fidelitys(rng: np.random.Generator, n: int, k: int) -> None:
    x, real = rng.normal(size=(n, k)) * 1.2 + 3, rng.normal(size=(500, k)) + 3
    fid = Frechet(x, Gauss.fitted(real)).raw
    groups = np.arange(n) % GROUPS
    assert fid.value == pytest.approx(frechet(x, real), rel=1e-9)
    for g in (0, 7, 19):
        assert fid.without[g] == pytest.approx(frechet(x[groups != g], real), rel=1e-9)


def test_correction_by_halves_takes_the_bias_away(rng: np.random.Generator) -> None:
    """Of 300 sets of 200 draws: raw FID is off by its bias of order 1/n, the corrected one by less than its own noise."""
    real = rng.normal(size=(2000, 4))
    target, scale = Gauss.fitted(real), 1.1
    true = target.distance(np.zeros(4), scale**2 * np.eye(4))
    found = [Frechet(rng.normal(size=(200, 4)) * scale, target) for _ in range(300)]
    raw, corrected = (np.array([getattr(f, kind).value for f in found]) for kind in ("raw", "corrected"))
    error = corrected.std() / np.sqrt(300)
    assert abs(corrected.mean() - true) < 3 * error
    assert raw.mean() - true > 10 * error


def test_jackknife_error_is_that_of_repeated_sampling(rng: np.random.Generator) -> None:
    target = Gauss.fitted(rng.normal(size=(2000, 4)))
    found = [Frechet(rng.normal(size=(300, 4)) * 1.3, target) for _ in range(200)]
    spread = np.std([f.raw.value for f in found])
    assert np.mean([f.raw.error() for f in found]) == pytest.approx(spread, rel=0.15)  # 1/√400 is 5 %


def test_leaving_out_groups_of_latents_covers_the_noise_of_seeds_too() -> None:
    """Sample i is latent i plus noise of its own in each of five sets: the error is that of the mean over sets."""
    rng, repeats, n = np.random.default_rng(1), 300, 200
    values, errors = [], []
    for _ in range(repeats):
        latent = rng.normal(size=n)
        sets = [latent + 2 * rng.normal(size=n) for _ in range(5)]
        without = [np.array([s[np.arange(n) % GROUPS != g].mean() for g in range(GROUPS)]) for s in sets]
        whole = mean([Jackknifed(s.mean(), w) for s, w in zip(sets, without, strict=True)])
        values.append(whole.value)
        errors.append(whole.error())
    assert np.std(values) == pytest.approx(np.sqrt((1 + 4 / 5) / n), rel=0.12)
    assert np.mean(errors) == pytest.approx(np.sqrt((1 + 4 / 5) / n), rel=0.05)


def test_kid_and_its_replicates_are_torch_fidelitys(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(210, 5)) * 1.5, rng.normal(size=(210, 5))
    kid, groups = Kernel(y).distance(x), np.arange(210) % GROUPS
    assert kid.value == pytest.approx(kernel_mmd(x, y, **OPTIONS), rel=1e-9)
    kept = groups != 3
    assert kid.without[3] == pytest.approx(kernel_mmd(x[kept], y[kept], **OPTIONS), rel=1e-9)


def test_kid_is_unbiased_and_its_error_true(rng: np.random.Generator) -> None:
    """200 fresh pairs of sets of unequal size, with closed-form truth: k(x, y) of Gaussians needs E(x·y)^j alone."""
    s2 = 1.5**2
    own, real, across = (1 + 3 * v / 3 for v in (s2**2, 1.0, s2))  # E(x·y/3 + 1)³ in 3 dimensions: 1 + 3·E(x·y)²/9
    truth = own + real - 2 * across
    found = [Kernel(rng.normal(size=(150, 3))).distance(rng.normal(size=(100, 3)) * 1.5) for _ in range(200)]
    values = np.array([kid.value for kid in found])
    assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(200)
    assert np.mean([kid.error() for kid in found]) == pytest.approx(values.std(), rel=0.25)


def test_sliced_wasserstein_and_its_replicates_are_pots(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(230, 4)) + 0.5, rng.normal(size=(230, 4))
    found, groups = sliced_wasserstein(x, y), np.arange(230) % GROUPS
    along = ot.sliced.get_random_projections(4, PROJECTIONS, seed=0)
    assert found.value == pytest.approx(ot.sliced_wasserstein_distance(x, y, projections=along), rel=1e-12)
    for g in (0, 19):
        kept = groups != g
        assert found.without[g] == pytest.approx(
            ot.sliced_wasserstein_distance(x[kept], y[kept], projections=along), rel=1e-9
        )
    assert found.value == sliced_wasserstein(x, y).value


def test_precision_and_recall_tell_wide_from_narrow(rng: np.random.Generator) -> None:
    real = rng.normal(size=(600, 2))
    (wide, covers), (true, narrow) = (precision_recall(rng.normal(size=(600, 2)) * s, real) for s in (3.0, 0.4))
    assert wide < 0.7 < 0.9 < covers
    assert narrow < 0.7 < 0.9 < true

"""Fitting the mixture of probabilistic PCA, on data made from a known one; and the data set's loader."""

import gzip
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from scorebench.reference_models import fashion
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.mixture import Mixture
from scorebench.reference_models.ppca import AT_ZERO, bits_per_dimension, fit, orthonormal
from scorebench.reference_models.process import EDM


def known() -> Mixture:
    g = torch.Generator().manual_seed(0)
    means = 3 * torch.randn(3, 12, generator=g, dtype=torch.float64)
    axes = orthonormal(torch.randn(3, 12, 2, generator=g, dtype=torch.float64))
    weights, deviations = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.3, 0.25]).double()
    return Mixture(EDM(), weights, means, deviations, torch.tensor([[2.0, 1.0]]).double().repeat(3, 1), axes)


def test_em_finds_the_mixture_that_made_the_data() -> None:
    """Each step raises the likelihood, and the last comes within 1 % of the truth's on fresh draws."""
    truth = known()
    x = truth.samples(3000, torch.Generator().manual_seed(1)).float()
    steps = list(fit(x, 3, 2, 6))
    likelihoods = [float(mixture.log_prob(x, AT_ZERO).mean()) for _, mixture in steps]
    assert all(b > a - 1e-4 for a, b in pairwise(likelihoods))
    fresh = truth.samples(3000, torch.Generator().manual_seed(2))
    found, best = (float(m.log_prob(fresh, AT_ZERO).mean()) for m in (steps[-1][1], truth))
    assert best - 0.05 < found <= best + 0.02


def test_bits_count_the_dequantisation() -> None:
    """A uniform density on [−1, 1) costs 8 bits a pixel of 256 levels; a wide Gaussian near 0 is compared by hand."""
    zero = torch.zeros(1, 12, dtype=torch.float64)
    wide = Mixture(EDM(), torch.ones(1).double(), zero, torch.ones(1).double())
    expected = 0.5 * torch.log2(torch.tensor(2 * torch.pi)) + 7  # −log₂ N(0; 0, 1) per dimension, and 2/256 per bin
    assert bits_per_dimension(wide, zero) == pytest.approx(float(expected), abs=1e-6)


def test_orthonormal_keeps_what_is_orthonormal() -> None:
    q = orthonormal(torch.randn(4, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(q.mT @ q, torch.eye(3, dtype=torch.float64).expand(4, 3, 3), rtol=0, atol=1e-14)
    torch.testing.assert_close(orthonormal(q.float().double()), q, rtol=0, atol=1e-6)


def test_a_missing_data_set_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOREBENCH_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="dataset-fashion-mnist"):
        fashion.folder()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + bytes(12)))
    fashion._read.cache_clear()
    with pytest.raises(UsageError, match="it is not Fashion-MNIST"):
        fashion.levels("train")

"""The parts of a likelihood's error: each isolated, and together the whole."""

import math

import numpy as np
import pytest
import torch

from scorebench.bench.likelihood_split import PARTS, Practice, split, table
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.gaussian import Gaussian
from scorebench.reference_models.model import ExactModel


@pytest.mark.parametrize(("address", "n"), [("exact:gaussian", 16), ("exact:gmm", 16), ("exact:ppca-fashion", 2)])
def test_parts_sum_to_the_total_within_its_interval(address: str, n: int) -> None:
    model = load_model(address)
    assert isinstance(model, ExactModel)
    with torch.no_grad():
        errors = split(model, Practice(), n, tolerance=1e-4)
    rows = {name: (mean, low, high) for name, mean, low, high in table(errors)}
    assert rows["total"][1] < rows["sum"][0] < rows["total"][2]
    assert np.abs(errors["rest"]).max() < 1e-3  # what the converged runs leave
    assert all(np.abs(errors[part]).max() > 0 for part in PARTS)


def test_parts_of_the_gaussian_are_its_closed_forms() -> None:
    """On VE, which starts at σ = 0.01 and ends at a prior that lacks the data's mean and variance, nothing is small."""
    model = load_model("exact:gaussian?process=ve&sigma_max=5")
    assert isinstance(model, Gaussian)
    errors = split(model, Practice(), 8)
    p, bits = model.process, 16 * math.log(2)
    x = model.samples(8, torch.Generator().manual_seed(0))
    first, last = (torch.tensor(t, dtype=torch.float64) for t in (p.t_min_likelihood, p.t_max))
    z = model.flow_map(x, first, last)
    gaussian = torch.distributions.Normal(0.0, p.prior_std).log_prob(z).sum(1)
    prior = (model.log_prob(z, last) - gaussian) / bits
    np.testing.assert_allclose(errors["prior"], prior.numpy(), atol=1e-6)
    normal = torch.distributions.MultivariateNormal(model.mean, model.axes @ torch.diag(model.variances) @ model.axes.T)
    truncation = (normal.log_prob(x) - model.log_prob(x, first)) / bits
    np.testing.assert_allclose(errors["truncation"], truncation.numpy(), atol=1e-6)

"""Addresses: the example of the documentation as written, and models that installed packages offer."""

from importlib.metadata import EntryPoint

import pytest
import torch

from scorebench.reference_models import addresses
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.network import NetworkModel
from scorebench.reference_models.training import loss_of

EXAMPLE = "python:docs/example_model.py:my_model"


def test_the_example_of_the_documentation_runs_as_written() -> None:
    """Its denoiser is the one that its prediction of noise implies."""
    model = load_model(EXAMPLE)
    assert isinstance(model, NetworkModel) and model.name == EXAMPLE
    x, t = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(0.4, dtype=torch.float64)
    eps = model.network(x, torch.full((3,), 999 * 0.4))[0]
    alpha, sigma = model.process.alpha(t), model.process.sigma(t)
    torch.testing.assert_close(model.denoise(x, t), (x - sigma * eps) / alpha, rtol=1e-5, atol=1e-5)
    assert loss_of(model, x, t.expand(3), torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).isfinite()


def test_models_of_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point in the group scorebench.models is an address, listed with the others and checked as a user's."""
    offered = EntryPoint("theirs", "scorebench.reference_models.addresses:shipped", "scorebench.models")
    monkeypatch.setattr(addresses, "entry_points", lambda group: [offered] if group == "scorebench.models" else [])
    assert "theirs" in addresses.addresses()
    with pytest.raises(UsageError, match=r"model 'theirs': .*shipped\(\) must return an object"):
        load_model("theirs")
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda: load_model("exact:gmm"))
    assert load_model("theirs").name == "theirs"

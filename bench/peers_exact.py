"""The denoiser of `exact:ppca-fashion` beside the two matrix products that it cannot do without, float32."""

from collections.abc import Iterator
from functools import partial

import torch

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.mixture import Mixture

from .peer_timing import Row, figure, rounds

BATCHES = (16, 64, 256, 1000)


def measure(number: int) -> Iterator[Row]:
    """The products' time, ours, and the products' share of it."""
    model = load_model("exact:ppca-fashion")
    assert isinstance(model, Mixture)
    t = torch.tensor(0.4, dtype=torch.float64)
    for batch in BATCHES:
        x = torch.randn(batch, *model.shape, generator=torch.Generator().manual_seed(0))
        basis = model._parameters(x).basis
        works = {
            "scorebench": partial(model.denoise, x, t),
            "products": partial(products, x.flatten(1), basis),
        }
        with torch.inference_mode():
            spent = rounds({name: partial(lambda work: work, work) for name, work in works.items()}, number)
        for name, seconds in spent.items():
            yield figure("exact", f"batch {batch}", name, "time", "ms CPU", 1e3 * seconds)
        share = 100 * spent["products"] / spent["scorebench"]
        yield figure("exact", f"batch {batch}", "scorebench", "share of products", "%", share)


def products(flat: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    return (flat @ basis) @ basis.T

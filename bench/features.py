"""What distribution metrics look at: an extractor per data set, the real features, and the real-against-real floor's."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models import classifier, digits
from scorebench.reference_models.model import ExactModel, Model
from scorebench.reference_models.parameterisation import broadcast

REAL = 4096  # exact draws that stand for the data of an exact model


@dataclass(frozen=True)
class Extractor:
    """A named feature map from samples (n, *d) to float32 features (n, k); metrics of different extractors never mix."""

    name: str
    digest: str
    extract: Callable[[Tensor], np.ndarray]


IDENTITY = Extractor("identity", "identity", lambda x: x.flatten(1).float().cpu().numpy())


def extractor_of(model: Model) -> Extractor:
    """The digits classifier's penultimate layer for models of digits; the coordinates themselves for exact models."""
    if model.data != "digits":
        return IDENTITY
    network, digest = classifier.load_classifier()

    def extract(x: Tensor) -> np.ndarray:
        pixels = digits.dequantise(digits.quantise(x.double().cpu())).float()  # the one conversion to the data's levels
        with torch.no_grad():
            return network.features(pixels).numpy()

    return Extractor(classifier.NAME, digest, extract)


def real_features(model: Model) -> np.ndarray | None:
    """Features of the data that samples are compared with: held-out digits, or exact draws of p at t_min; None without data."""
    if isinstance(model, ExactModel):
        return extractor_of(model).extract(_exact_draws(model, REAL, seed=1))
    if model.data is None:
        return None
    return extractor_of(model).extract(digits.dequantise(digits.levels("heldout")))


def floor_features(model: Model, n: int) -> np.ndarray | None:
    """Features of n other real samples, for the floor; None where there are not so many."""
    if isinstance(model, ExactModel):
        return extractor_of(model).extract(_exact_draws(model, n, seed=2))
    if model.data is None:
        return None
    training = digits.levels("train")
    if n > len(training):
        return None
    chosen = torch.randperm(len(training), generator=torch.Generator().manual_seed(0))[:n]
    return extractor_of(model).extract(digits.dequantise(training[chosen]))


def _exact_draws(model: ExactModel, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x0 = model.samples(n, generator)
    t = torch.tensor(model.process.t_min, dtype=torch.float64)
    z = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    return broadcast(model.process.alpha(t), x0) * x0 + broadcast(model.process.sigma(t), x0) * z

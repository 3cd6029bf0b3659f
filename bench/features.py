"""What distribution metrics look at: an extractor per data set, the real features, and the real-against-real floor's."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models import classifier
from scorebench.reference_models.datasets import DATASETS
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.mixture import Mixture
from scorebench.reference_models.model import ExactModel, Model
from scorebench.reference_models.network import NetworkModel
from scorebench.reference_models.parameterisation import broadcast
from scorebench.reference_models.score_error import WrongScore

REAL = 4096  # exact draws that stand for the data of an exact model


@dataclass(frozen=True)
class Extractor:
    """A named feature map from samples (n, *d) to float32 features (n, k); metrics of different extractors never mix."""

    name: str
    digest: str
    extract: Callable[[Tensor], np.ndarray]


IDENTITY = Extractor("identity", "identity", lambda x: x.flatten(1).float().cpu().numpy())


def extractor_of(model: Model) -> Extractor:
    """The classifier's penultimate layer for images of a shape that has one; else the coordinates themselves."""
    name = classifier.name_for(model.shape)
    if name is None:
        return IDENTITY
    network, digest = classifier.load_classifier(name)

    def extract(x: Tensor) -> np.ndarray:
        with torch.no_grad():
            return np.concatenate(
                [network.features(classifier.to_levels(name, part)).numpy() for part in x.cpu().split(1000)]
            )

    return Extractor(name, digest, extract)


def classes_of(model: Model) -> Callable[[np.ndarray], np.ndarray] | None:
    """What tells the class of samples (n,) from features (n, k): the classifier's head, or a mixture's most likely component."""
    if (name := classifier.name_for(model.shape)) is not None:
        head = classifier.load_classifier(name)[0].head
        return lambda features: np.asarray(head(torch.from_numpy(features)).argmax(1).numpy())
    mixture = model.model if isinstance(model, WrongScore) else model
    if not isinstance(mixture, Mixture):
        return None
    t = torch.tensor(mixture.process.t_min, dtype=torch.float64)
    return lambda features: np.asarray(mixture.component(torch.from_numpy(features), t).numpy())


def has_data(model: Model) -> bool:
    """Whether there is data here to compare a model with: its own exact draws, or the data set that it names."""
    return isinstance(model, ExactModel) or model.data in DATASETS


def real_features(model: Model) -> np.ndarray | None:
    """Features of the data that samples are compared with: held-out images, or exact draws of p at t_min; None without data."""
    if isinstance(model, ExactModel):
        return extractor_of(model).extract(exact_draws(model, REAL, seed=1))
    return _shipped(model).heldout if has_data(model) else None


def floor_features(model: Model, n: int) -> np.ndarray | None:
    """Features of n other real samples, for the floor; None where there are not so many."""
    if isinstance(model, ExactModel):
        return np.concatenate([extractor_of(model).extract(draws) for draws in exact_blocks(model, n)])
    if not has_data(model):
        return None
    training = _shipped(model).train
    return training[:n] if n <= len(training) else None


def training_features(model: Model) -> int:
    """How many training images' features ship of the model's data set."""
    return len(_shipped(model).train)


def real_images(model: Model, n: int) -> np.ndarray:
    """n images of the data, for a reader to look at (n, *shape); the model must have data."""
    if isinstance(model, ExactModel):
        return np.asarray(model.samples(n, torch.Generator().manual_seed(1)).numpy())
    return np.asarray(DATASETS[model.data or ""].dequantise(_shipped(model).images[:n]).numpy())


def real_levels(model: Model, n: int) -> Tensor:
    """Integer levels of the first n held-out images of the data set that the model names; UsageError beyond those kept."""
    images = _shipped(model).images
    if n > len(images):
        raise UsageError(f"{n} images of {model.data}: {len(images)} ship with scorebench")
    return images[:n]


def _shipped(model: Model) -> classifier.Real:
    """What ships of the model's data set, of its class alone where it has one."""
    name = classifier.name_for(model.shape)
    assert name is not None
    return classifier.real(name, label_of(model))


def label_of(model: Model) -> int | None:
    """The class that a network is asked for; None where it is not."""
    return model.label if isinstance(model, NetworkModel) and model.label != model.null else None


def exact_draws(model: ExactModel, n: int, seed: int = 2) -> Tensor:
    """n draws of p at t_min (n, *d), float64; those of seed 2 make the floors."""
    return torch.cat(list(exact_blocks(model, n, seed)))


def exact_blocks(model: ExactModel, n: int, seed: int = 2) -> Iterator[Tensor]:
    """The same, REAL at a time."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.tensor(model.process.t_min, dtype=torch.float64)
    for first in range(0, n, REAL):
        x0 = model.samples(min(REAL, n - first), generator)
        z = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        yield broadcast(model.process.alpha(t), x0) * x0 + broadcast(model.process.sigma(t), x0) * z

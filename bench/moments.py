"""The closed-form moments of an exact model at the end of sampling, and the coordinates in which they are compared.

In up to LEADING dimensions these are the coordinates themselves; beyond, those along the leading axes of the covariance.
"""

from collections.abc import Hashable
from functools import lru_cache
from math import prod
from typing import cast

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.model import ExactModel, KnownMoments, Model

from .distances import Gauss
from .features import IDENTITY, Extractor

LEADING = 64


def known(model: Model) -> bool:
    """Whether the law of perfect samples, p at t_min, is known: its density and its moments."""
    return isinstance(model, ExactModel) and isinstance(model, KnownMoments) and model.data is None


def coordinates(model: Model) -> Extractor:
    """The map of samples (n, *d) to coordinates (n, min(d, LEADING)), float32."""
    if prod(model.shape) <= LEADING:
        return IDENTITY
    name = f"leading-{LEADING}"
    return Extractor(name, name, lambda x: (x.flatten(1).double().cpu() @ _at_end(model)[2]).float().numpy())


def target(model: Model) -> Gauss:
    """Mean and covariance of p at t_min in these coordinates."""
    mean, covariance, axes = _at_end(model)
    return Gauss((mean @ axes).numpy(), np.asarray(axes.T @ covariance @ axes))


def _at_end(model: Model) -> tuple[Tensor, Tensor, Tensor]:
    return _computed(cast(Hashable, model))


@lru_cache(maxsize=16)
def _computed(model: Hashable) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) at t_min, and the axes as columns (d, k), each with its largest entry positive."""
    assert isinstance(model, Model) and isinstance(model, KnownMoments)
    mean, covariance = model.moments(torch.tensor(model.process.t_min, dtype=torch.float64))
    d = len(mean)
    if d <= LEADING:
        return mean, covariance, torch.eye(d, dtype=torch.float64)
    axes = torch.linalg.eigh(covariance)[1][:, -LEADING:].flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return mean, covariance, axes * torch.sign(largest)

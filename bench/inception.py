"""Inception-v3 features, the field's own, where the user has the weights: SCOREBENCH_INCEPTION names the file as torch-fidelity
publishes it. It is never downloaded.
"""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.classifier import SHOWN
from scorebench.reference_models.datasets import DATASETS
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import ExactModel, Model
from scorebench.reference_models.torchvision_repair import repair

from .features import REAL, Extractor, exact_draws, has_data, label_of, real_images
from .store import digest_of

NAME = "inception-v3"
VARIABLE = "SCOREBENCH_INCEPTION"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
PUBLISHED = f"weights-inception-2015-12-05-{SHA256[:8]}.pth"
BATCH, WIDTH = 50, 2048


def inception_for(model: Model) -> Extractor | None:
    """The extractor for a model of grey or colour images; None where no file is named. UsageError where it is not that file."""
    place = os.environ.get(VARIABLE)
    if not place or len(model.shape) != 3 or model.shape[0] not in (1, 3):
        return None
    return Extractor(NAME, _checked(place), lambda x: _features(place, x))


def to_bytes(pixels: Tensor) -> Tensor:
    """The one quantisation of pixels (n, 1 or 3, h, w) in [−1, 1) to 256 levels, grey repeated to three channels; uint8."""
    levels = torch.floor((pixels.double().cpu() + 1) * 128).clamp(0, 255).to(torch.uint8)
    return levels.expand(-1, 3, -1, -1).contiguous()


def pixels_to_compare(model: Model, n: int) -> tuple[Tensor, Tensor | None] | None:
    """Real images (m, *shape) and n other ones for the floor, None where there are not so many; None without data."""
    if isinstance(model, ExactModel):
        return exact_draws(model, REAL, seed=1), exact_draws(model, n)
    if not has_data(model):
        return None
    data, label = DATASETS[model.data or ""], label_of(model)
    try:
        heldout, training = (
            data.dequantise(data.levels(s) if label is None else data.levels(s)[data.labels(s) == label])
            for s in ("heldout", "train")
        )
    except UsageError:  # the data set is not here: those that ship
        return torch.from_numpy(real_images(model, SHOWN)), None
    return heldout, training[:n] if n <= len(training) else None


@lru_cache(maxsize=4)
def _checked(place: str) -> str:
    """The digest of the file once it is the published one."""
    mend = f"name {PUBLISHED} of torch-fidelity, or unset {VARIABLE}"
    if not Path(place).is_file():
        raise UsageError(f"{VARIABLE}: no file {place}; {mend}")
    digest = digest_of(Path(place).read_bytes())
    if digest != SHA256:
        raise UsageError(f"{VARIABLE}: {place} has sha256 {digest[:12]}…, expected {SHA256[:12]}…; {mend}")
    return digest


@lru_cache(maxsize=1)
def _network(place: str, device: torch.device) -> torch.nn.Module:
    repair()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.load(place, weights_only=True)  # refuses what is more than tensors, before torch-fidelity unpickles it
    network: torch.nn.Module = FeatureExtractorInceptionV3(NAME, [str(WIDTH)], feature_extractor_weights_path=place)
    return network.to(device)


def _features(place: str, x: Tensor) -> np.ndarray:
    _checked(place)
    with torch.no_grad():
        network, parts = _network(place, x.device), to_bytes(x).split(BATCH)
        return np.concatenate([network(part.to(x.device))[0].cpu().numpy() for part in parts])

"""Feature extractors for FID: small classifiers of digits and of garments, the layer before the class scores."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .datasets import DIGITS, FASHION, DataSet
from .errors import UsageError
from .network import WEIGHTS

REAL = "real.npz"
KEPT, SHOWN = 10000, 512  # real images of each split whose features are kept; held-out images kept themselves


@dataclass(frozen=True)
class Recipe:
    """A classifier of one data set: its convolutions (the first at full size, each next one halving it) and training."""

    name: str
    data: DataSet
    channels: tuple[int, ...]
    features: int
    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    mirror: bool  # whether a mirrored image is as good


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("digits-cnn", DIGITS, (16, 32), 32, 60, 50, 3e-3, 1e-2, False),
        Recipe("fashion-cnn", FASHION, (16, 32, 64), 64, 14, 128, 2e-3, 1e-2, True),
    )
}


class Classifier(nn.Module):
    """Convolutions and two linear layers; `features` is the layer before the class scores."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for depth, (a, b) in enumerate(pairwise((1, *recipe.channels))):
            layers += [nn.Conv2d(a, b, 3, stride=2 if depth else 1, padding=1), nn.SiLU()]
        size = recipe.data.shape[-1] // 2 ** (len(recipe.channels) - 1)
        flat = recipe.channels[-1] * size**2
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(flat, recipe.features))
        self.head = nn.Linear(recipe.features, 10)

    def features(self, pixels: Tensor) -> Tensor:
        """Features (n, k) of pixels (n, 1, h, w) in [−1, 1)."""
        return torch.tanh(self.body(pixels))

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.head(self.features(pixels))
        return scores


def name_for(shape: tuple[int, ...]) -> str | None:
    """The classifier that looks at images of that shape; None where there is none."""
    return next((recipe.name for recipe in RECIPES.values() if recipe.data.shape == tuple(shape)), None)


def to_levels(name: str, pixels: Tensor) -> Tensor:
    """The one conversion of samples to the data's levels, given back as bin middles; float32."""
    data = RECIPES[name].data
    middles: Tensor = data.dequantise(data.quantise(pixels.double().cpu()))
    return middles.float()


def train_classifier(name: str, folder: Path, seed: int = 0) -> Iterator[str]:
    """Train on the training split, write weights, digest and card, and say how each epoch went."""
    from safetensors.torch import save_file

    recipe = RECIPES[name]
    data = recipe.data
    torch.manual_seed(seed)
    network = Classifier(recipe)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
    levels, labels = data.levels("train"), data.labels("train")
    for epoch in range(recipe.epochs):
        for rows in torch.randperm(len(levels)).split(recipe.batch):
            pixels = data.dequantise(levels[rows], torch.rand(len(rows), *recipe.data.shape))
            if recipe.mirror:
                pixels[::2] = pixels[::2].flip(-1)
            loss = nn.functional.cross_entropy(network(pixels), labels[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
        yield f"{name}: epoch {epoch + 1} of {recipe.epochs}, loss {loss.item():.3f}"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "digest.txt").write_text(digest + "\n")
    share, count = accuracy(name, network), len(data.labels("heldout"))
    (folder / "card.md").write_text(
        CARD.format(name=name, share=share, count=count, digest=digest, seed=seed, r=recipe)
    )
    write_real_features(name, network, folder / REAL)
    yield f"{name}: {share:.1%} of {count} held-out images right"


def write_real_features(name: str, network: Classifier, path: Path) -> None:
    """Features and labels of real images of both splits, and the first held-out images: what suites need of the data."""
    data = RECIPES[name].data
    arrays: dict[str, Any] = {}
    network.eval()
    for split in ("heldout", "train"):
        levels, labels = data.levels(split), data.labels(split)
        rows = torch.randperm(len(levels), generator=torch.Generator().manual_seed(0))[:KEPT]
        with torch.no_grad():
            parts = [network.features(data.dequantise(part)) for part in levels[rows].split(1000)]
        arrays[f"{split}_features"] = torch.cat(parts).half().numpy()
        arrays[f"{split}_labels"] = labels[rows].to(torch.uint8).numpy()
    images, labels = data.levels("heldout")[:SHOWN], data.labels("heldout")[:SHOWN]
    digest = np.array((path.parent / "digest.txt").read_text().strip())
    arrays |= {"images": images.to(torch.uint8).numpy(), "labels": labels.to(torch.uint8).numpy(), "digest": digest}
    np.savez_compressed(path, **arrays)


@dataclass(frozen=True)
class Real:
    """What ships of a data set: float32 features (n, k) of its splits and integer levels (m, *shape) of held-out images."""

    heldout: np.ndarray
    train: np.ndarray
    images: Tensor


@cache
def real(name: str, label: int | None = None) -> Real:
    """Real features and images beside a classifier's weights, of one class where a label is given.

    UsageError when the features are not those of the pinned weights.
    """
    path = WEIGHTS / name / REAL
    with np.load(path, allow_pickle=False) as file:
        arrays: dict[str, np.ndarray] = dict(file)
    if str(arrays["digest"]) != load_classifier(name)[1]:
        raise UsageError(f"{name}: {path} is of other weights; restore it, or make both with `scorebench train {name}`")

    def chosen(values: str, labels: str) -> np.ndarray:
        rows = slice(None) if label is None else arrays[labels] == label
        return np.asarray(arrays[values][rows])

    heldout, train = (
        chosen(f"{split}_features", f"{split}_labels").astype(np.float32) for split in ("heldout", "train")
    )
    return Real(heldout, train, torch.from_numpy(chosen("images", "labels")))


CARD = """# {name}

The feature extractor behind `fid[{name}]`: {r.features} units before the class scores of a small classifier
(convolutions of {r.channels} channels), trained on the training split for {r.epochs} epochs with seed {seed}.

| | |
|---|---|
| held-out accuracy | {share:.2%} of {count} |
| train again | `scorebench train {name}` |
| sha256 of the weights | `{digest}` |
"""


def accuracy(name: str, network: Classifier) -> float:
    """Share of the held-out images that are classified right."""
    data = RECIPES[name].data
    network.eval()
    with torch.no_grad():
        parts = data.levels("heldout").split(2000)
        guess = torch.cat([network(data.dequantise(part).float()).argmax(1) for part in parts])
    return float((guess == data.labels("heldout")).double().mean())


@cache
def load_classifier(name: str, folder: Path | None = None) -> tuple[Classifier, str]:
    """A shipped classifier and its digest; UsageError when the weights are not those pinned."""
    from safetensors.torch import load_file

    folder = folder or WEIGHTS / name
    try:
        content, pinned = (folder / "model.safetensors").read_bytes(), (folder / "digest.txt").read_text().strip()
    except OSError as error:
        raise UsageError(f"{name}: no {error.filename}; make it with `scorebench train {name}`") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != pinned:
        raise UsageError(
            f"{name}: weights have sha256 {digest[:12]}…, expected {pinned[:12]}…; restore them or `scorebench train {name}`"
        )
    network = Classifier(RECIPES[name])
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval().requires_grad_(False), digest

"""The feature extractor for FID on digits: a small classifier whose penultimate layer (32 units) is the features."""

import hashlib
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from . import digits
from .errors import UsageError
from .network import WEIGHTS

NAME = "digits-cnn"


class DigitsClassifier(nn.Module):
    """Two convolutions and two linear layers; `features` is the layer before the class scores."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(),
            nn.Dropout(0.2), nn.Linear(32 * 16, 32),
        )  # fmt: skip
        self.head = nn.Linear(32, 10)

    def features(self, pixels: Tensor) -> Tensor:
        """Features (n, 32) of pixels (n, 1, 8, 8) in [−1, 1)."""
        return torch.tanh(self.body(pixels))

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.head(self.features(pixels))
        return scores


def train_classifier(folder: Path, epochs: int = 60, seed: int = 0) -> tuple[float, int]:
    """Train on the 1,000 training digits, write weights and digest, and return the held-out accuracy and its count."""
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    network = DigitsClassifier()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    levels, labels = digits.levels("train"), digits.labels("train")
    for _ in range(epochs):
        for rows in torch.randperm(len(levels)).split(50):
            pixels = digits.dequantise(levels[rows], torch.rand(len(rows), *digits.SHAPE))
            loss = nn.functional.cross_entropy(network(pixels), labels[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / "model.safetensors")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "digest.txt").write_text(digest + "\n")
    return accuracy(network), len(digits.labels("heldout"))


def accuracy(network: DigitsClassifier) -> float:
    """Share of the 797 held-out digits that are classified right."""
    network.eval()
    with torch.no_grad():
        guess = network(digits.dequantise(digits.levels("heldout"))).argmax(1)
    return float((guess == digits.labels("heldout")).double().mean())


@cache
def load_classifier(folder: Path = WEIGHTS / NAME) -> tuple[DigitsClassifier, str]:
    """The shipped classifier and its digest; UsageError when the weights are not those pinned."""
    from safetensors.torch import load_file

    try:
        digest, pinned = (
            hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
            (folder / "digest.txt").read_text().strip(),
        )
    except OSError as error:
        raise UsageError(f"{NAME}: no {error.filename}; make it with `scorebench train {NAME}`") from None
    if digest != pinned:
        raise UsageError(
            f"{NAME}: weights have sha256 {digest[:12]}…, expected {pinned[:12]}…; restore them or `scorebench train {NAME}`"
        )
    network = DigitsClassifier()
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval().requires_grad_(False), digest

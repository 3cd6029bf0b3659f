"""The 1,797 scans of handwritten digits, 8×8 pixels of 17 levels, that ship with scikit-learn.

1,000 of them (committed indices) train every digits network; the other 797 are held out for FID and likelihood.
"""

import json
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

LEVELS = 17
SHAPE = (1, 8, 8)
SPLIT = Path(__file__).with_name("digits_split.json")


@cache
def load() -> tuple[Tensor, Tensor]:
    """All scans as integer levels 0…16 (1797, 1, 8, 8), with their labels (1797,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return torch.tensor(digits.images, dtype=torch.int64)[:, None], torch.tensor(digits.target)


@cache
def indices(split: str) -> Tensor:
    """Positions of the "train" (1,000) or "heldout" (797) scans."""
    train = torch.tensor(json.loads(SPLIT.read_text())["train"])
    if split == "train":
        return train
    heldout = torch.ones(len(load()[0]), dtype=torch.bool)
    heldout[train] = False
    return heldout.nonzero()[:, 0]


def levels(split: str) -> Tensor:
    """The scans of a split as integer levels (n, 1, 8, 8)."""
    return load()[0][indices(split)]


def labels(split: str) -> Tensor:
    return load()[1][indices(split)]

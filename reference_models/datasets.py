"""The data sets that networks are trained on: integer levels as published, and their one conversion to pixels and back."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from . import digits, fashion


@dataclass(frozen=True)
class DataSet:
    """Grey images of integer levels 0…bins−1, split into "train" and "heldout"."""

    name: str
    shape: tuple[int, ...]
    bins: int
    about: str
    licence: str
    levels: Callable[[str], Tensor]  # (n, *shape) of a split
    labels: Callable[[str], Tensor]  # (n,) of a split

    def dequantise(self, level: Tensor, uniform: Tensor | float = 0.5) -> Tensor:
        """Levels k to pixels 2(k + u)/bins − 1 in [−1, 1), u uniform in [0, 1) or the middle of the bin."""
        return 2 * (level + uniform) / self.bins - 1

    def quantise(self, pixels: Tensor) -> Tensor:
        """Pixels to the nearest level, clipped: the inverse of `dequantise`; int64."""
        return torch.floor((pixels + 1) * (self.bins / 2)).clamp(0, self.bins - 1).to(torch.int64)

    @property
    def log_bin(self) -> float:
        """Log of a bin's width, in nats: log P(level) = log p(pixel) + log_bin per dimension."""
        return log(2 / self.bins)


DATASETS = {
    data.name: data
    for data in (
        DataSet(
            "digits",
            digits.SHAPE,
            digits.LEVELS,
            "1,000 of the 1,797 scans of handwritten digits that ship with scikit-learn, 8×8 pixels of 17 levels, indices in "
            "`digits_split.json`, dequantised uniformly to [−1, 1); the other 797 are held out",
            "CC BY 4.0",
            digits.levels,
            digits.labels,
        ),
        DataSet(
            "fashion",
            fashion.SHAPE,
            fashion.LEVELS,
            "the 60,000 training images of Fashion-MNIST (Xiao et al. 2017), 28×28 pixels of 256 levels, dequantised uniformly "
            "to [−1, 1); the 10,000 test images are held out",
            "MIT",
            fashion.levels,
            fashion.labels,
        ),
    )
}
DIGITS, FASHION = DATASETS["digits"], DATASETS["fashion"]

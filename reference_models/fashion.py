"""Fashion-MNIST: 70,000 grey images of garments, 28×28 pixels of 256 levels (Xiao et al. 2017, arXiv:1708.07747).

It is needed to train and to measure floors, never to run a suite. Its four files are looked for in the folder named by
SCOREBENCH_DATA, in `data/fashion-mnist` here, and where Debian's package `dataset-fashion-mnist` puts them.
"""

import gzip
import hashlib
import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .errors import UsageError

LEVELS = 256
SHAPE = (1, 28, 28)
FOLDERS = ("data/fashion-mnist", "/usr/share/datasets/fashion-mnist")
FILES = {  # the sha256 of what each file holds once unpacked, which does not depend on how it was packed
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def folder() -> Path:
    """Where the data set is; UsageError says how to get it."""
    named = os.environ.get("SCOREBENCH_DATA")
    places = [Path(named)] if named else [Path(place) for place in FOLDERS]
    for place in places:
        if (place / "train-images-idx3-ubyte.gz").is_file() or (place / "train-images-idx3-ubyte").is_file():
            return place
    raise UsageError(
        f"no Fashion-MNIST in {' or '.join(map(str, places))}: install the package dataset-fashion-mnist of Debian or "
        "Ubuntu, or set SCOREBENCH_DATA to a folder with its four idx files"
    )


@cache
def _read(name: str) -> Tensor:
    place = folder()
    packed = place / f"{name}.gz"
    content = gzip.decompress(packed.read_bytes()) if packed.is_file() else (place / name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != FILES[name]:
        raise UsageError(
            f"{place / name} has sha256 {digest[:12]}…, expected {FILES[name][:12]}…: it is not Fashion-MNIST"
        )
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).astype(int)
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy())


def levels(split: str) -> Tensor:
    """Integer levels 0…255 of the "train" (60,000) or "heldout" (10,000) images, (n, 1, 28, 28), uint8."""
    return _read("train-images-idx3-ubyte" if split == "train" else "t10k-images-idx3-ubyte")[:, None]


def labels(split: str) -> Tensor:
    """Classes 0…9 (n,)."""
    return _read("train-labels-idx1-ubyte" if split == "train" else "t10k-labels-idx1-ubyte").long()

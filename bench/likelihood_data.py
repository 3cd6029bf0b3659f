"""What a user's data are: levels of pixels or points, read part by part; and what bits per dimension mean.

A pixel of B levels is dequantised to y = 2(k + u)/B − 1 with u uniform in [0, 1), so that P(k) = ∫ p(y) dy over its bin, or
(2/B)^d E_u p(y) for an image. Jensen's inequality (Theis et al. 2016, arXiv:1511.01844) gives
−log₂ P(k)/d ≤ −E_u log₂ p(y)/d + log₂(B/2). The last term is the constant 7 of the literature, where B = 256, and 3.09 for
the 17 levels of the digits. With K draws of u, −log₂ of the mean of p(y) is a bound that falls with K to −log₂ P(k)
itself (Burda et al. 2016, arXiv:1509.00519).
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.datasets import DATASETS
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import ExactModel, Model
from scorebench.solvers.noise import UNIFORM
from scorebench.solvers.philox import words

from .features import real_levels

LEVELS = 256  # of images, where the model's data set does not say another number
SUFFIXES = (".npy", ".npz")


def levels_of(model: Model) -> int | None:
    """The number of levels of the model's data; None for points, whose density is all there is."""
    if model.data in DATASETS:
        return DATASETS[model.data or ""].bins
    return LEVELS if len(model.shape) == 3 else None


def offset(levels: int | None) -> float:
    """Bits per dimension from the density's to the levels': log₂(B/2)."""
    return 0.0 if levels is None else math.log2(levels / 2)


def bound(log_p: Tensor, model: Model, levels: int | None) -> Tensor:
    """Bits per dimension (n,) of the densities of K draws, log_p (K, n) in nats."""
    mean = torch.logsumexp(log_p, 0) - math.log(len(log_p))
    return -mean / (math.prod(model.shape) * math.log(2)) + offset(levels)


def dequantise(levels: Tensor, bins: int, seed: int, indices: Tensor, draw: int) -> Tensor:
    """Pixels 2(k + u)/B − 1 (b, *d), float64, u a function of (seed, index, draw); draw 0 is that of the references."""
    count, shape = math.prod(levels.shape[1:]), levels.shape
    u = words(seed, indices, count, UNIFORM, torch.tensor([draw]))[0].double() / 2**32
    return 2 * (levels.double() + u.reshape(shape)) / bins - 1


@dataclass(frozen=True)
class Data:
    """n images (n, *d) as levels 0…levels − 1, or as points where levels is None; `names` says where each came from."""

    rows: np.ndarray | Tensor | list[Path]
    names: tuple[str, ...] | None
    levels: int | None
    shape: tuple[int, ...]
    source: str

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, row: int) -> str:
        return str(row) if self.names is None else self.names[row]

    def part(self, first: int, last: int) -> Tensor:
        """Rows first…last − 1 as float64 (k, *d); UsageError where a value is not a level, or not finite."""
        part = self.rows[first:last]
        if isinstance(part, list):
            arrays = [_read_png(path, self.shape) for path in part]
            part = np.stack(arrays)
        values = torch.as_tensor(np.array(part)).double().reshape(-1, *self.shape)
        if self.levels is not None:
            self._check_levels(values, first)
        elif not bool(torch.isfinite(values).all()):
            raise UsageError(f"{self.source}: a point among {first}…{first + len(values) - 1} is not finite")
        return values

    def check(self, at_once: int = 1024) -> None:
        """Read everything once: UsageError at the first image that does not fit, before any is measured."""
        for first in range(0, len(self), at_once):
            self.part(first, first + at_once)

    def _check_levels(self, values: Tensor, first: int) -> None:
        assert self.levels is not None
        wrong = ~((values >= 0) & (values < self.levels) & (values == values.floor())).flatten(1)
        if bool(wrong.any()):
            row, place = map(int, wrong.nonzero()[0])
            value = float(values.flatten(1)[row, place])
            raise UsageError(
                f"{self.source}: image {self.name(first + row)} holds {value:g}, expected whole levels in "
                f"[0, {self.levels - 1}]"
            )


def model_data(model: Model, n: int, seed: int) -> Data:
    """The first n held-out images of the model's data set, or n draws of an exact model, which are points."""
    if isinstance(model, ExactModel):
        x = model.samples(n, torch.Generator().manual_seed(seed))
        return Data(x, None, None, model.shape, f"{n} draws of {model.name}")
    if model.data not in DATASETS:
        raise UsageError(f"model {model.name!r} names no data set: give --data FILE or FOLDER")
    return Data(real_levels(model, n), None, levels_of(model), model.shape, f"held-out images of {model.data}")


def read_data(path: Path, model: Model, levels: int | None) -> Data:
    """A .npy or .npz file, or a folder of PNG images, fit for the model; UsageError says what does not fit.

    Arrays are (n, *shape) or, of images, (n, h, w) and (n, h, w, c); those of a .npy file are read as they are needed.
    """
    if path.is_dir():
        files = sorted(path.glob("*.png"))
        if not files:
            raise UsageError(f"{path}: no *.png in this folder")
        if len(model.shape) != 3:
            raise UsageError(f"{path}: model {model.name!r} takes points of shape {model.shape}, not images")
        return Data(files, tuple(file.name for file in files), levels, model.shape, str(path))
    if not path.is_file():
        raise UsageError(f"{path}: no such file or folder")
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path}: expected a .npy or .npz file, or a folder of PNG images")
    array = _array(path)
    if array.dtype.kind not in "uif":
        raise UsageError(f"{path}: expected numbers, got {array.dtype}")
    return Data(_fit(array, model, path), None, levels, model.shape, str(path))


def _array(path: Path) -> np.ndarray:
    try:
        loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UsageError(f"{path}: not an array that numpy reads: {' '.join(str(error).split())[:100]}") from None
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if len(loaded.files) != 1:
            raise UsageError(f"{path}: holds {', '.join(loaded.files) or 'nothing'}; expected one array")
        array: np.ndarray = loaded[loaded.files[0]]
    return array


def _fit(array: np.ndarray, model: Model, path: Path) -> np.ndarray:
    """The array as (n, *shape), channels moved to the front where they come last."""
    shape = model.shape
    if array.shape[1:] == shape:
        fitted = array
    elif len(shape) == 3 and array.shape[1:] == (*shape[1:], shape[0]):
        fitted = np.moveaxis(array, -1, 1)
    elif len(shape) == 3 and shape[0] == 1 and array.shape[1:] == shape[1:]:
        fitted = array[:, None]
    else:
        raise UsageError(f"{path}: array of shape {array.shape}, model {model.name!r} takes (n, {str(shape)[1:-1]})")
    if not len(fitted):
        raise UsageError(f"{path}: holds no images")
    return fitted


def _read_png(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L" if shape[0] == 1 else "RGB"))
    except OSError as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())[:100]}") from None
    found = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    if found.shape != shape:
        raise UsageError(f"{path}: image of shape {found.shape}, expected {shape}")
    return found

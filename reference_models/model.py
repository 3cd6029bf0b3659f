"""The one interface of every reference model, and what pins its numbers."""

import hashlib
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .process import Process


@runtime_checkable
class Model(Protocol):
    """A denoiser D(x, t) = E[x_0 | x_t = x] of one process; x (b, *shape), t () or (b,) float64 on the host.

    `data` names the data set that the model was trained on; None when the model itself is the truth.
    """

    name: str
    process: Process
    shape: tuple[int, ...]
    data: str | None

    def denoise(self, x: Tensor, t: Tensor) -> Tensor: ...


@runtime_checkable
class ExactModel(Model, Protocol):
    """A model whose density, trace and samples are known in closed form."""

    exact: bool

    def denoise_trace(self, x: Tensor, t: Tensor) -> Tensor: ...

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor: ...

    def samples(self, n: int, generator: torch.Generator) -> Tensor: ...


@runtime_checkable
class KnownMoments(Protocol):
    """An exact model whose mean (d,) and covariance (d, d) are known in closed form at every time t ()."""

    def moments(self, t: Tensor) -> tuple[Tensor, Tensor]: ...


def model_digest(model: Model) -> str:
    """What pins the model's numbers: the sha256 of its weights, or of an exact model's process and parameters."""
    digest = getattr(model, "digest", "")
    if digest:
        return str(digest)
    sha = hashlib.sha256(repr((type(model).__qualname__, model.process, model.shape)).encode())
    for key, value in sorted(vars(model).items()):
        if isinstance(value, Tensor):
            rounded = value.float().cpu() + 0  # so that the last bits of another machine's linear algebra do not count
            sha.update(key.encode() + rounded.numpy().tobytes())
    return sha.hexdigest()

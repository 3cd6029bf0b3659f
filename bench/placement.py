"""Where a suite's models, latents, noise and solves live: the processor, or a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import Model
from scorebench.reference_models.network import NetworkModel

DEVICES = ("cpu", "cuda")


def check_device(name: str) -> None:
    """UsageError for a device that is not here."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"device cuda: torch {torch.__version__} sees no GPU here, `scorebench doctor` says why; or run with --device cpu"
        )


def full_precision() -> None:
    """float32 means float32: convolutions on a GPU would round to ten bits, an error above that of good solvers."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def device_name(device: torch.device) -> str:
    """As provenance and the keys of timings name it: "cpu", or which GPU."""
    known = device.type == "cuda" and torch.cuda.is_available()
    return torch.cuda.get_device_name(device) if known else device.type


@contextmanager
def on_host(model: Model, dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    """A network on the processor, for what is computed there, and afterwards where it was."""
    if not isinstance(model, NetworkModel) or device.type == "cpu":
        yield
        return
    model.to(dtype)
    try:
        yield
    finally:
        model.to(dtype, device)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""Lets CPU-only torch live beside the CUDA build of torchvision that the package index serves.

That torchvision cannot load its C++ library without CUDA, and `import torchvision` (so diffusers and torch-fidelity)
dies with "operator torchvision::nms does not exist". Declaring the two schemas it registers fakes for is enough.
"""

from importlib.util import find_spec
from pathlib import Path

import torch

_library: torch.library.Library | None = None  # the declarations live as long as this reference


def needed() -> bool:
    """Whether torch is a CPU build and torchvision's compiled library is one for CUDA, judged without importing it."""
    spec = find_spec("torchvision")
    if torch.version.cuda or spec is None or spec.origin is None:
        return False
    compiled = list(Path(spec.origin).parent.glob("_C*.so"))
    return any(b"libtorch_cuda" in path.read_bytes() for path in compiled)


def repair() -> None:
    """Declare `torchvision::nms` and `torchvision::qnms` once, if `needed`; call it before anything imports torchvision."""
    global _library
    if _library is not None or not needed():
        return
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        _library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

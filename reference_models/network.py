"""Trained networks on disk: a diffusers U-Net behind `denoise`, loaded from a folder whose digest is checked.

A folder holds `config.json` (architecture, process, parameterisation, data set), `model.safetensors`, `digest.txt`
(sha256 of the two) and the model's card.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from .errors import UsageError
from .parameterisation import Parameterisation, broadcast, to_x0
from .process import Process, make_process
from .torchvision_repair import repair

WEIGHTS = Path(__file__).with_name("weights")


def build_unet(architecture: dict[str, Any]) -> nn.Module:
    """The diffusers `UNet2DModel` of that configuration, freshly initialised."""
    repair()
    from diffusers import UNet2DModel

    return cast(nn.Module, UNet2DModel(**architecture))


class NetworkModel:
    """A network that predicts what its parameterisation says, as the denoiser D(x, t) of its process.

    With classes, `label` is the one asked for, `null` the one that stands for none, and a `guidance` other than 1 mixes
    the two predictions by classifier-free guidance, null + guidance·(label − null): two evaluations of each sample.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        process: Process,
        parameterisation: Parameterisation,
        shape: tuple[int, ...],
        digest: str,
        data: str | None = None,
        label: int | None = None,
        null: int | None = None,
        guidance: float = 1.0,
    ) -> None:
        self.name, self.network, self.process = name, network.eval().requires_grad_(False), process
        self.parameterisation, self.shape, self.digest, self.data = parameterisation, shape, digest, data
        self.label, self.null, self.guidance = label, null, guidance

    @property
    def evaluations_per_call(self) -> int:
        """Network evaluations of one sample in one call of `denoise`: both halves of guidance count."""
        return 1 if self.guidance == 1.0 else 2

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """D(x, t) for x (b, *shape) and t () or (b,), float64 on the host; computed in the dtype of x."""
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        c_in = broadcast(self.parameterisation.c_in(self.process, t), x)
        c_noise = self.parameterisation.c_noise(self.process, t).to(x).expand(len(x))
        prediction = self._predict(c_in * x, c_noise)
        kind = self.parameterisation.prediction
        return to_x0(kind, prediction, x, broadcast(alpha, x), broadcast(sigma, x))

    def _predict(self, x: Tensor, c_noise: Tensor) -> Tensor:
        if self.label is None:
            return cast(Tensor, self.network(x, c_noise, return_dict=False)[0])
        if self.guidance == 1.0:
            labels = torch.full((len(x),), self.label, device=x.device)
            return cast(Tensor, self.network(x, c_noise, class_labels=labels, return_dict=False)[0])
        labels = torch.tensor([self.null, self.label], device=x.device).repeat_interleave(len(x))
        both = self.network(torch.cat([x, x]), torch.cat([c_noise, c_noise]), class_labels=labels, return_dict=False)[0]
        null, conditional = both.chunk(2)
        return cast(Tensor, null + self.guidance * (conditional - null))

    def to(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> "NetworkModel":
        nn.Module.to(self.network, device=device, dtype=dtype)  # not diffusers' own, which warns
        return self


def folder_digest(folder: Path) -> str:
    """sha256 over config.json and model.safetensors, in that order."""
    sha = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        sha.update((folder / name).read_bytes())
    return sha.hexdigest()


def check_digest(folder: Path, name: str) -> str:
    """The digest of a weights folder; UsageError when a file is missing or the digest is not the pinned one."""
    missing = [f for f in ("config.json", "model.safetensors", "digest.txt") if not (folder / f).is_file()]
    if missing:
        raise UsageError(f"model {name}: {folder} lacks {', '.join(missing)}; train it with `scorebench train {name}`")
    digest, pinned = folder_digest(folder), (folder / "digest.txt").read_text().strip()
    if digest != pinned:
        raise UsageError(
            f"model {name}: weights in {folder} have sha256 {digest[:12]}…, expected {pinned[:12]}…; "
            f"restore the folder, or train it again with `scorebench train {name}`"
        )
    return digest


def load_network(folder: Path, name: str) -> NetworkModel:
    """The network of a weights folder; UsageError when a file is missing or the digest differs."""
    from safetensors.torch import load_file

    digest = check_digest(folder, name)
    config = json.loads((folder / "config.json").read_text())
    network = build_unet(config["architecture"])
    network.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
    process = make_process(config["process"]["name"], **config["process"].get("parameters", {}))
    return NetworkModel(
        name,
        network,
        process,
        Parameterisation(**config["parameterisation"]),
        tuple(config["shape"]),
        digest,
        config["data"],
    )

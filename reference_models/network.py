"""Trained networks on disk: a diffusers U-Net behind `denoise`, loaded from a folder whose digest is checked.

A folder holds `config.json` (architecture, process, parameterisation, data set), `model.safetensors`, `digest.txt`
(sha256 of the two) and the model's card.
"""

import hashlib
import json
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from .errors import UsageError, unknown
from .parameterisation import Parameterisation, Prediction, broadcast
from .process import KEPT, Process, make_process
from .torchvision_repair import repair

WEIGHTS = Path(__file__).with_name("weights")
CANCELLED = 1e-14  # of two coefficients that are equal in exact arithmetic, the relative difference left


class Patched(nn.Module):
    """A U-Net of one channel's images that sees every 2×2 patch as four channels, the border widened by one patch.

    A quarter of the pixels costs a quarter of the time, and 28 pixels become 16 = 2⁴ patches. Its input is x/r, where
    r² = α² + σ², its condition log σ/α. The U-Net gives v, of unit size at every level; `prediction` is what is said of it:
    at high noise ε is nearly x/r itself, which the norms inside could not let through (the preconditioning of
    Karras et al. 2022, arXiv:2206.00364, section 5, for data of unit variance).
    """

    def __init__(self, unet: nn.Module, prediction: Prediction) -> None:
        super().__init__()
        self.unet, self.prediction = unet, prediction

    def forward(
        self, x: Tensor, c_noise: Tensor, class_labels: Tensor | None = None, return_dict: bool = False
    ) -> tuple[Tensor]:
        patches = nn.functional.pad(nn.functional.pixel_unshuffle(x, 2), (1, 1, 1, 1))
        out = self.unet(patches, c_noise, class_labels=class_labels, return_dict=return_dict)[0]
        v = nn.functional.pixel_shuffle(out[..., 1:-1, 1:-1], 2)
        alpha, sigma = (torch.sqrt(torch.sigmoid(sign * 2 * c_noise)).reshape(-1, 1, 1, 1) for sign in (-1, 1))
        eps, x0 = sigma * x + alpha * v, alpha * x - sigma * v
        match self.prediction:
            case "v":
                return (v,)
            case "epsilon":
                return (eps,)
            case "scaled_score":
                return (-eps,)
            case "flow":
                return (eps - x0,)
        raise unknown("prediction of a patched network", self.prediction, ("v", "epsilon", "scaled_score", "flow"))


def build_unet(architecture: dict[str, Any]) -> nn.Module:
    """The diffusers `UNet2DModel` of that configuration, initialised; `patched`, a prediction, puts it behind `Patched`."""
    repair()
    from diffusers import UNet2DModel

    options = dict(architecture)
    patched = options.pop("patched", None)
    unet = cast(nn.Module, UNet2DModel(**options))
    return unet if patched is None else Patched(unet, patched)


class Lazy:
    """A network that is built when it is first needed: diffusers takes longer to import than a finished suite to check."""

    def __init__(self, network: nn.Module | Callable[[], nn.Module]) -> None:
        self._made = network
        self._place: tuple[torch.dtype, torch.device | str] | None = None
        if isinstance(network, nn.Module):
            network.eval().requires_grad_(False)

    @property
    def network(self) -> nn.Module:
        if not isinstance(self._made, nn.Module):
            self._made = self._made().eval().requires_grad_(False)
            if self._place is not None:
                self.to(*self._place)
        return self._made

    def to(self, dtype: torch.dtype, device: torch.device | str) -> None:
        self._place = dtype, device
        if isinstance(self._made, nn.Module):
            nn.Module.to(self._made, device=device, dtype=dtype)  # not diffusers' own, which warns


class NetworkModel:
    """A network that predicts what its parameterisation says, as the denoiser D(x, t) of its process.

    With classes, `label` is the one asked for, `null` the one that stands for none, and a `guidance` other than 1 mixes
    the two predictions by classifier-free guidance, null + guidance·(label − null): two evaluations of each sample.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module | Callable[[], nn.Module],
        process: Process,
        parameterisation: Parameterisation,
        shape: tuple[int, ...],
        digest: str,
        data: str | None = None,
        label: int | None = None,
        null: int | None = None,
        guidance: float = 1.0,
    ) -> None:
        self.name, self.process = name, process
        self._lazy = Lazy(network)
        self.parameterisation, self.shape, self.digest, self.data = parameterisation, shape, digest, data
        self.label, self.null, self.guidance = label, null, guidance
        self.trained = process
        self._weights: dict[tuple[float, float, float], tuple[float, ...]] = {}

    @property
    def network(self) -> nn.Module:
        return self._lazy.network

    def under(self, process: Process) -> "NetworkModel":
        """The same denoiser as a model of another process, by the change of variables x/α at equal σ/α.

        UsageError where that process needs noise levels that the network was not trained on.
        """
        low, high = (float(self.trained.sigma_hat(_time(t))) for t in (self.trained.t_trained, self.trained.t_max))
        first, last = (float(process.sigma_hat(_time(t))) for t in (process.t_min, process.t_max))
        if first < 0.99 * low or last > 1.01 * high:
            raise UsageError(
                f"model {self.name!r}: process {process.name} goes from noise level σ/α {first:.3g} to {last:.3g}, the network "
                f"was trained from {low:.3g} to {high:.3g}; set its t_min, t_max or sigma_max"
            )
        lowest = max(process.t_min_likelihood, float(process.t_of_sigma_hat(_time(low))))
        other = copy(self)
        other.process, other._weights = replace(process, t_min_likelihood=lowest), {}
        other.digest = hashlib.sha256(f"{self.digest} {other.process}".encode()).hexdigest()
        return other

    @property
    def evaluations_per_call(self) -> int:
        """Network evaluations of one sample in one call of `denoise`: both halves of guidance count."""
        return 1 if self.guidance == 1.0 else 2

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """D(x, t) for x (b, *shape) and t () or (b,), float64 on the host; computed in the dtype of x."""
        if t.ndim == 0:
            return self.mix(x, float(t), 0.0, 1.0)
        if self.process is not self.trained:
            t, scale = self._in_training(self.process, t)
            x = broadcast(scale, x) * x
        c_in, c_noise, kept, moved = self.parameterisation.scalars(self.trained, t)
        prediction = self._predict(broadcast(c_in, x) * x, c_noise.to(x))
        if self.parameterisation.prediction == "x0":
            return prediction
        return broadcast(kept, x) * x + broadcast(moved, x) * prediction

    def mix(self, x: Tensor, t: float, a: float, b: float) -> Tensor:
        """a x + b D(x, t): of x and the network's prediction at once, so that ε of an ε network is what it says.

        A subclass that changes `denoise` changes this too.
        """
        key, found = (t, a, b), self._weights
        if key not in found:
            if len(found) >= KEPT:
                found.clear()
            found[key] = self._weights_of(t, a, b)
        scale, c_in, c_noise, of_x, of_prediction = found[key]
        at = x if scale == 1.0 else torch.mul(x, scale)
        prediction = self._predict(at if c_in == 1.0 else torch.mul(at, c_in), filled(c_noise, x))
        if of_x == 0.0:
            return prediction if of_prediction == 1.0 else torch.mul(prediction, of_prediction)
        return torch.add(torch.mul(x, of_x), prediction, alpha=of_prediction)

    def _weights_of(self, t: float, a: float, b: float) -> tuple[float, ...]:
        """What makes of x a state of training, c_in and c_noise there, and what x and the prediction weigh in a x + b D."""
        scale = 1.0
        if self.process is not self.trained:
            t, scale = self.process.at(t, self._in_training)
        c_in, c_noise, kept, moved = self.trained.at(t, self.parameterisation.scalars)
        of_x, of_prediction = a + b * kept * scale, b * moved
        if abs(of_x) <= CANCELLED * abs(a):
            of_x, of_prediction = 0.0, 1.0 if abs(of_prediction - 1) <= CANCELLED else of_prediction
        return scale, c_in, c_noise, of_x, of_prediction

    def _in_training(self, process: Process, t: Tensor) -> tuple[Tensor, Tensor]:
        """The time of training at which λ is that of the process at t, and what makes its state of x."""
        trained = self.trained.t_of_lam(process.lam(t))
        return trained, self.trained.alpha(trained) / process.alpha(t)

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
        self._lazy.to(dtype, device)
        return self


def filled(value: float, x: Tensor) -> Tensor:
    """The value for each sample of x (b, *d), as x is; on the host kept in inference mode, where no transform wraps it."""
    if x.device.type == "cpu" and torch.is_inference_mode_enabled():
        return kept_on_host(value, len(x), x.dtype)
    return torch.full(x.shape[:1], value, dtype=x.dtype, device=x.device)


@lru_cache(maxsize=256)
def kept_on_host(value: float, size: int, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # so that it serves gradients too
        return torch.full((size,), value, dtype=dtype)


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


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


def label_and_guidance(address: str, options: dict[str, str], classes: int | None) -> tuple[int | None, float]:
    """The `label` and `guidance` of an address, fit for a network of so many classes; UsageError otherwise."""
    for name in options:
        if name not in ("label", "guidance"):
            raise unknown(f"option of {address}", name, ("label", "guidance"))
    try:
        label = int(options["label"]) if "label" in options else None
        guidance = float(options.get("guidance", 1.0))
    except ValueError:
        raise UsageError(f"model {address!r}: label is an integer and guidance a number") from None
    if label is not None and classes is None:
        raise UsageError(f"model {address!r}: it has no classes, drop label")
    if label is not None and classes is not None and not 0 <= label < classes:
        raise UsageError(f"model {address!r}: label {label} is not in 0…{classes - 1}")
    if guidance != 1.0 and label is None:
        raise UsageError(f"model {address!r}: guidance needs a model with classes and a label")
    return label, guidance


def load_network(folder: Path, name: str, options: dict[str, str] | None = None) -> NetworkModel:
    """The network of a weights folder, built when first called; a labelled one takes `label` and `guidance`.

    By default the label is the one that stands for none. UsageError when a file is missing or broken, the digest differs,
    or an option does not fit.
    """
    from safetensors.torch import load_file

    digest = check_digest(folder, name)
    config = json.loads((folder / "config.json").read_text())

    def network() -> nn.Module:
        built = build_unet(config["architecture"])
        built.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
        return built

    process = make_process(config["process"]["name"], **config["process"].get("parameters", {}))
    classes = config["architecture"].get("num_class_embeds")
    label, guidance = label_and_guidance(name, options or {}, classes)
    null = None if classes is None else classes - 1
    return NetworkModel(
        name, network, process, Parameterisation(**config["parameterisation"]), tuple(config["shape"]), digest,
        config["data"], null if label is None else label, null, guidance,
    )  # fmt: skip

"""`diffusers:PATH-or-hub-id`: any `UNet2DModel` with its scheduler's configuration, as a denoiser.

PATH holds `unet/` and `scheduler/` as a pipeline saves them, or a model's own `config.json` with `scheduler_config.json`
beside it. Options: `?label=3` for a class, `&guidance=7.5` for classifier-free guidance against the null label, the last.
Weights are safetensors; pickles are refused. The hub is asked only for a name that is not a folder.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from .discrete import DiscreteVP
from .errors import UsageError, unknown
from .network import NetworkModel, label_and_guidance
from .parameterisation import Conditioning, Parameterisation, Prediction
from .process import VE, Flow, Process
from .torchvision_repair import repair

PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "sample": "x0", "v_prediction": "v"}
TABLED = (
    "DDPMScheduler DDIMScheduler PNDMScheduler DPMSolverMultistepScheduler DPMSolverSinglestepScheduler "
    "DEISMultistepScheduler UniPCMultistepScheduler EulerDiscreteScheduler HeunDiscreteScheduler LMSDiscreteScheduler"
).split()
KNOWN = (*TABLED, "ScoreSdeVeScheduler", "FlowMatchEulerDiscreteScheduler")


def load_checkpoint(address: str, rest: str, options: dict[str, str]) -> NetworkModel:
    """The model of a checkpoint; UsageError names what is missing, unknown or unsafe."""
    place = Path(rest) if Path(rest).is_dir() else _from_hub(address, rest)
    unet = place / "unet" if (place / "unet").is_dir() else place
    scheduler = next((p for p in (place / "scheduler", place) if (p / "scheduler_config.json").is_file()), None)
    if not (unet / "config.json").is_file() or scheduler is None:
        lacking = "a scheduler_config.json" if (unet / "config.json").is_file() else "a UNet2DModel's config.json"
        raise UsageError(f"model {address!r}: {place} lacks {lacking}, in unet/ and scheduler/ or beside each other")
    process, parameterisation = _reading(address, json.loads((scheduler / "scheduler_config.json").read_text()))
    network = _network(address, unet)
    config = json.loads((unet / "config.json").read_text())
    sha = hashlib.sha256()
    for file in (unet / "config.json", _weights(address, unet), scheduler / "scheduler_config.json"):
        sha.update(file.read_bytes())
    size = config["sample_size"]
    height, width = size if isinstance(size, list) else (size, size)
    shape = (int(config["in_channels"]), int(height), int(width))
    classes = config.get("num_class_embeds")
    label, guidance = label_and_guidance(address, options, classes)
    if label is None and classes is not None:
        raise UsageError(f"model {address!r}: it has classes, add ?label=0")
    sha.update(f"{label} {guidance}".encode())
    return NetworkModel(
        address, network, process, parameterisation, shape, sha.hexdigest(), label=label,
        null=None if label is None else int(config["num_class_embeds"]) - 1, guidance=guidance,
    )  # fmt: skip


def _reading(address: str, config: dict[str, Any]) -> tuple[Process, Parameterisation]:
    """The process, and how the network is read, that a scheduler's configuration implies."""
    kind = config.get("_class_name", "")
    steps = int(config.get("num_train_timesteps", 1000))
    if kind == "ScoreSdeVeScheduler":
        low, high = float(config.get("sigma_min", 0.01)), float(config.get("sigma_max", 1348.0))
        return VE(sigma_min=low, sigma_max=high), Parameterisation("score", "none", "sigma")
    if kind == "FlowMatchEulerDiscreteScheduler":
        return Flow(), Parameterisation("flow", "none", "t", time_scale=float(steps))
    if kind not in TABLED:
        raise unknown(f"scheduler of {address}", kind, KNOWN)
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise unknown(f"prediction_type of {address}", prediction, PREDICTIONS)
    conditioning: Conditioning = "t"
    return DiscreteVP.of(_cumulative(address, config, steps)), Parameterisation(
        PREDICTIONS[prediction], "none", conditioning
    )


def _cumulative(address: str, config: dict[str, Any], steps: int) -> torch.Tensor:
    """ᾱ (N,) of a β table, float64."""
    low, high = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
    schedule = config.get("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
    elif schedule == "linear":
        betas = torch.linspace(low, high, steps, dtype=torch.float64)
    elif schedule == "scaled_linear":
        betas = torch.linspace(low**0.5, high**0.5, steps, dtype=torch.float64) ** 2
    elif schedule == "squaredcos_cap_v2":
        edges = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        level = torch.cos((edges + 0.008) / 1.008 * torch.pi / 2) ** 2
        betas = (1 - level[1:] / level[:-1]).clamp(max=0.999)
    else:
        raise unknown(f"beta_schedule of {address}", str(schedule), ("linear", "scaled_linear", "squaredcos_cap_v2"))
    cumulative = torch.cumprod(1 - betas, 0)
    if config.get("rescale_betas_zero_snr"):  # Lin et al. 2024, arXiv:2305.08891, algorithm 1
        root = cumulative.sqrt()
        cumulative = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return cumulative


def _weights(address: str, unet: Path) -> Path:
    found = sorted(unet.glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    pickles = sorted(p.name for p in unet.iterdir() if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl"))
    if pickles:
        raise UsageError(
            f"model {address!r}: {unet / pickles[0]} is a pickle, which can run code; convert it to safetensors"
        )
    raise UsageError(f"model {address!r}: {unet} holds {len(found)} safetensors files, expected one")


def _network(address: str, unet: Path) -> torch.nn.Module:
    kind = json.loads((unet / "config.json").read_text()).get("_class_name")
    if kind != "UNet2DModel":
        raise UsageError(f"model {address!r}: {unet} holds a {kind}, expected a UNet2DModel")
    _weights(address, unet)
    repair()
    from diffusers import UNet2DModel

    try:
        network: torch.nn.Module = UNet2DModel.from_pretrained(
            unet, use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False
        )
    except (ValueError, RuntimeError, OSError) as error:
        raise UsageError(f"model {address!r}: {' '.join(str(error).split())[:200]}") from None
    for name, tensor in network.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise UsageError(f"model {address!r}: weight {name} holds NaN or infinity")
    return network


def _from_hub(address: str, name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*/*.json", "*/*.safetensors"]))
    except Exception as error:  # offline, unknown, forbidden: the library raises many kinds
        reason = " ".join(str(error).split())[:120]
        raise UsageError(f"model {address!r}: no folder {name}, and the hub gave no such model ({reason})") from None

"""Denoising score matching for the shipped networks: one recipe each, resumable, on two cores or one GPU."""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import digits
from .errors import unknown
from .network import NetworkModel, build_unet, folder_digest
from .parameterisation import Parameterisation, broadcast, from_x0
from .process import make_process

DIGITS_UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 1,
    "block_out_channels": [16, 24],
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "norm_num_groups": 8,
    "add_attention": False,
}


@dataclass(frozen=True)
class Recipe:
    """What determines a trained network: data, process, parameterisation, architecture and optimisation."""

    name: str
    process: str
    parameterisation: Parameterisation
    data: str = "digits"
    architecture: dict[str, Any] = field(default_factory=lambda: DIGITS_UNET)
    shape: tuple[int, ...] = digits.SHAPE
    steps: int = 7000
    batch: int = 256
    learning_rate: float = 2e-3
    ema: float = 0.999
    seed: int = 0


RECIPES = {
    recipe.name: recipe
    for recipe in (
        # conditioned on log σ̂: with 999·t the learnt field is so rough in t that no reference solution can be verified
        Recipe("digits-vp", "vp", Parameterisation("epsilon", "none", "log_sigma")),
        Recipe("digits-ve", "ve", Parameterisation("v", "unit", "log_sigma"), seed=1),
    )
}


def loss_of(model: NetworkModel, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Mean squared error of the network's own prediction at x_t = α x₀ + σ ε, t (b,)."""
    process, p = model.process, model.parameterisation
    alpha, sigma = broadcast(process.alpha(t), x0), broadcast(process.sigma(t), x0)
    x = alpha * x0 + sigma * eps
    c_in = broadcast(p.c_in(process, t), x)
    prediction = model.network(c_in * x, p.c_noise(process, t).to(x), return_dict=False)[0]
    return torch.mean((prediction - from_x0(p.prediction, x0, x, alpha, sigma)) ** 2)


def train(
    name: str, folder: Path, every: int = 500, device: str = "cpu"
) -> Iterator[tuple[int, int, float, NetworkModel]]:
    """Train recipe `name` into `folder`, yielding (step, steps, mean loss, averaged model) every so many steps.

    A checkpoint beside the results makes the run resumable: it continues after the last yield. The finished folder
    holds config.json, model.safetensors, digest.txt and loss.csv. ValueError for an unknown name.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    recipe = RECIPES[name]
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    process = make_process(recipe.process)
    model = NetworkModel(
        name,
        build_unet(recipe.architecture).to(device),
        process,
        recipe.parameterisation,
        recipe.shape,
        "",
        recipe.data,
    )
    network = model.network.train().requires_grad_(True)
    averaged = {key: value.clone() for key, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: _learning_rate(s, recipe.steps))
    generator = torch.Generator().manual_seed(recipe.seed)
    done, losses = 0, []
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        averaged, done, losses = state["averaged"], state["done"], state["losses"]
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
    images = digits.levels("train")
    low, high = process.t_min_likelihood, process.t_max
    recent: list[float] = []
    for step in range(done + 1, recipe.steps + 1):
        rows = torch.randint(len(images), (recipe.batch,), generator=generator)
        uniform = torch.rand((recipe.batch, *recipe.shape), generator=generator)
        x0 = digits.dequantise(images[rows], uniform).to(device)
        # low-discrepancy times: one per stratum of [low, high]
        strata = (torch.arange(recipe.batch) + torch.rand(1, generator=generator)) / recipe.batch
        eps = torch.randn(x0.shape, generator=generator).to(device)
        loss = loss_of(model, x0, (low + (high - low) * strata).double(), eps)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        decay = min(recipe.ema, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            averaged[key].lerp_(value, 1 - decay)
        recent.append(loss.item())
        if step % every == 0 or step == recipe.steps:
            losses.append([step, sum(recent) / len(recent)])
            recent.clear()
            state = {"network": network.state_dict(), "averaged": averaged, "done": step, "losses": losses}
            state |= {
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "generator": generator.get_state(),
            }
            torch.save(state, checkpoint.with_suffix(".partial"))
            checkpoint.with_suffix(".partial").replace(checkpoint)
            if step == recipe.steps:
                _write(recipe, folder, averaged, losses)
                checkpoint.unlink()
            network_now = build_unet(recipe.architecture).to(device)
            network_now.load_state_dict(averaged)
            yield (
                step,
                recipe.steps,
                losses[-1][1],
                NetworkModel(name, network_now, process, recipe.parameterisation, recipe.shape, "", recipe.data),
            )


def _learning_rate(step: int, steps: int) -> float:
    return min(1.0, step / 200) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def _write(recipe: Recipe, folder: Path, averaged: dict[str, Tensor], losses: list[list[float]]) -> None:
    from safetensors.torch import save_file

    config = {
        "name": recipe.name,
        "process": {"name": recipe.process},
        "parameterisation": asdict(recipe.parameterisation),
        "shape": recipe.shape,
        "data": recipe.data,
        "architecture": recipe.architecture,
        "training": {k: getattr(recipe, k) for k in ("steps", "batch", "learning_rate", "ema", "seed")},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file({key: value.contiguous().cpu() for key, value in averaged.items()}, folder / "model.safetensors")
    (folder / "digest.txt").write_text(folder_digest(folder) + "\n")
    with (folder / "loss.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["step", "loss"], *losses])

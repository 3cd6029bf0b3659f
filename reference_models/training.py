"""Denoising score matching for the shipped networks: one recipe each, resumable, on two cores or one GPU."""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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


class Run:
    """A training run: the network, its running average, the optimiser and the random stream, all of it resumable."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.model = self._model(build_unet(recipe.architecture).to(device))
        self.network = self.model.network.train().requires_grad_(True)
        self.averaged = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda s: _learning_rate(s, recipe.steps))
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.images = digits.levels("train")
        self.done = 0
        self.losses: list[list[float]] = []

    def _model(self, network: nn.Module) -> NetworkModel:
        r = self.recipe
        return NetworkModel(r.name, network, make_process(r.process), r.parameterisation, r.shape, "", r.data)

    def averaged_model(self) -> NetworkModel:
        """The model with the averaged weights, which are what is shipped."""
        network = build_unet(self.recipe.architecture).to(self.device)
        network.load_state_dict(self.averaged)
        return self._model(network)

    def step(self) -> float:
        """One step of the optimiser on one batch; its loss."""
        recipe, process = self.recipe, self.model.process
        rows = torch.randint(len(self.images), (recipe.batch,), generator=self.generator)
        uniform = torch.rand((recipe.batch, *recipe.shape), generator=self.generator)
        x0 = digits.dequantise(self.images[rows], uniform).to(self.device)
        # low-discrepancy times: one in each of `batch` equal parts of the interval
        shares = (torch.arange(recipe.batch) + torch.rand(1, generator=self.generator)) / recipe.batch
        eps = torch.randn(x0.shape, generator=self.generator).to(self.device)
        t = process.t_min_likelihood + (process.t_max - process.t_min_likelihood) * shares
        loss = loss_of(self.model, x0, t.double(), eps)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.done += 1
        decay = min(recipe.ema, (1 + self.done) / (10 + self.done))
        for key, value in self.network.state_dict().items():
            self.averaged[key].lerp_(value, 1 - decay)
        return loss.item()

    def save(self, path: Path) -> None:
        """Write the checkpoint whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "done": self.done,
            "losses": self.losses,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        self.averaged, self.done, self.losses = state["averaged"], state["done"], state["losses"]


def train(
    name: str, folder: Path, every: int = 500, device: str = "cpu"
) -> Iterator[tuple[int, int, float, NetworkModel]]:
    """Train recipe `name` into `folder`, yielding (step, steps, mean loss, averaged model) every so many steps.

    A checkpoint beside the results makes the run resumable: it continues after the last yield. The finished folder
    holds config.json, model.safetensors, digest.txt and loss.csv. UsageError for an unknown name.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    run, checkpoint = Run(RECIPES[name], device), folder / "checkpoint.pt"
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        run.resume(checkpoint)
    steps, recent = run.recipe.steps, []
    while run.done < steps:
        recent.append(run.step())
        if run.done % every == 0 or run.done == steps:
            run.losses.append([run.done, sum(recent) / len(recent)])
            recent.clear()
            run.save(checkpoint)
            if run.done == steps:
                _write(run.recipe, folder, run.averaged, run.losses)
                checkpoint.unlink()
            yield run.done, steps, run.losses[-1][1], run.averaged_model()


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

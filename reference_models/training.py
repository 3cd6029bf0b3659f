"""Denoising score matching for the shipped networks: one recipe each, resumable, on two cores or one GPU."""

import csv
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .mixture import Mixture, finite
from .network import WEIGHTS, NetworkModel, build_unet, folder_digest, load_network
from .parameterisation import Prediction, broadcast, from_x0, to_x0
from .process import make_process
from .recipes import CLASSES, DROPPED, Recipe

CARD = "card.md"
NEAR = 2.0  # at less noise, σ/α, no other image is near enough to have much of a part in the mean


def loss_of(
    model: NetworkModel,
    x0: Tensor,
    t: Tensor,
    eps: Tensor,
    labels: Tensor | None = None,
    target: Prediction | None = None,
    expected: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Mean squared error of the network's prediction, or of what it says of `target`, at x_t = α x₀ + σ ε.

    t (b,), labels (b,) where it has them; `expected` is given x₀ and x_t, and says what takes the place of x₀ in the target.
    """
    process, p = model.process, model.parameterisation
    alpha, sigma = broadcast(process.alpha(t), x0), broadcast(process.sigma(t), x0)
    x = alpha * x0 + sigma * eps
    c_in = broadcast(p.c_in(process, t), x)
    shown = {} if labels is None else {"class_labels": labels}
    prediction = model.network(c_in * x, p.c_noise(process, t).to(x), return_dict=False, **shown)[0].float()
    if target is not None:
        prediction = from_x0(target, to_x0(p.prediction, prediction, x, alpha, sigma), x, alpha, sigma)
    clean = x0 if expected is None else expected(x0, x)
    return torch.mean((prediction - from_x0(target or p.prediction, clean, x, alpha, sigma)) ** 2)


class Run:
    """A training run: the network, its running average, the optimiser and the random stream, all of it resumable."""

    def __init__(self, recipe: Recipe, device: str) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.model = self._model(self._first_weights().to(device))
        self.network = self.model.network.train().requires_grad_(True)
        self.averaged = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=recipe.learning_rate, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, partial(_learning_rate, steps=recipe.steps))
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.levels, self.labels = recipe.data.levels("train"), recipe.data.labels("train")
        self.images: dict[int, Mixture] = {}
        self.done = 0
        self.autocast = recipe.half and self._bfloat16_is_faster()
        self.losses: list[list[float]] = []

    def _first_weights(self) -> nn.Module:
        network = build_unet(self.architecture)
        if self.recipe.start is not None:
            start = load_network(WEIGHTS / self.recipe.start, self.recipe.start).network.state_dict()
            new = network.load_state_dict(start, strict=False).missing_keys  # of labels, which say nothing at first
            for name in new:
                network.get_parameter(name).detach().zero_()
        return network

    @property
    def architecture(self) -> dict[str, Any]:
        """The configuration of its U-Net, labels included."""
        r = self.recipe
        return {**r.architecture, "num_class_embeds": CLASSES + 1} if r.labelled else r.architecture

    def _model(self, network: nn.Module) -> NetworkModel:
        r, null = self.recipe, CLASSES if self.recipe.labelled else None
        process = make_process(r.process, **r.of_process)
        return NetworkModel(r.name, network, process, r.parameterisation, r.data.shape, "", r.data.name, null, null)

    def averaged_model(self) -> NetworkModel:
        """The model with the averaged weights, which are what is shipped."""
        network = build_unet(self.architecture).to(self.device)
        network.load_state_dict(self.averaged)
        return self._model(network)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Images, times, noise and labels, all from the run's own random stream."""
        recipe, generator = self.recipe, self.generator
        rows = torch.randint(len(self.levels), (recipe.batch,), generator=generator)
        uniform = torch.rand((recipe.batch, *recipe.data.shape), generator=generator)
        x0 = recipe.data.dequantise(self.levels[rows], uniform)
        # low-discrepancy times: one in each of `batch` equal parts of the interval
        shares = (torch.arange(recipe.batch) + torch.rand(1, generator=generator)) / recipe.batch
        eps = torch.randn(x0.shape, generator=generator)
        t = self._times(shares)
        if not recipe.labelled:
            return x0.to(self.device), t.double(), eps.to(self.device), None
        dropped = torch.rand(recipe.batch, generator=generator) < DROPPED
        labels = self.labels[rows].masked_fill(dropped, CLASSES)
        return x0.to(self.device), t.double(), eps.to(self.device), labels.to(self.device)

    def _times(self, shares: Tensor) -> Tensor:
        """The times at which so much of the recipe's spread (b,) lies below."""
        process, ends = self.model.process, (self.model.process.t_trained, self.model.process.t_max)
        if not self.recipe.even:
            return ends[0] + (ends[1] - ends[0]) * shares
        levels = process.sigma_hat(torch.tensor(ends, dtype=torch.float64))
        low, high = levels / (1 + levels)
        even = low + (high - low) * shares.double()
        return process.t_of_sigma_hat(even / (1 - even)).clamp(*ends)

    def _loss(self, bfloat16: bool) -> Tensor:
        x0, t, eps, labels = self._batch()
        told = self.done >= self.recipe.steps - self.recipe.posterior
        expected = partial(self._expected, t, labels) if told else None
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=bfloat16):
            return loss_of(self.model, x0, t, eps, labels, self.recipe.target, expected)

    def _expected(self, t: Tensor, labels: Tensor | None, x0: Tensor, x: Tensor) -> Tensor:
        """x₀, and where there is more noise than NEAR, the mean of the training images, of its label if shown one, given x."""
        mean, far = x0.clone(), self.model.process.sigma_hat(t) > NEAR
        shown = torch.full((len(x),), CLASSES) if labels is None else labels.cpu()
        for label in shown[far].unique().tolist():
            rows = (far & (shown == label)).nonzero()[:, 0]
            mean[rows] = self._images(label).denoise(x[rows], t[rows])
        return mean

    def _images(self, label: int) -> Mixture:
        """The training images of a label, or for CLASSES all of them, as an exact model."""
        if label not in self.images:
            kept = self.levels if label == CLASSES else self.levels[self.labels == label]
            self.images[label] = finite(self.model.process, self.recipe.data.dequantise(kept.double()))
        return self.images[label]

    def _bfloat16_is_faster(self) -> bool:
        """Whether a step's gradients take less time under autocast here, the least of some turns; the random stream is kept."""
        state, seconds = self.generator.get_state(), {False: math.inf, True: math.inf}
        for bfloat16 in (False, True) * 4:
            started = time.perf_counter()
            self._loss(bfloat16).backward()
            self._loss(bfloat16).item()  # waits for the device
            seconds[bfloat16] = min(seconds[bfloat16], time.perf_counter() - started)
        self.generator.set_state(state)
        return seconds[True] < seconds[False]

    def step(self) -> float:
        """One step of the optimiser on one batch; its loss."""
        loss = self._loss(self.autocast)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.done += 1
        decay = min(self.recipe.ema, (1 + self.done) / (10 + self.done))
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
    recipe: Recipe, folder: Path, every: int = 500, device: str = "cpu"
) -> Iterator[tuple[int, int, float, NetworkModel]]:
    """Train a recipe into `folder`, yielding (step, steps, mean loss, averaged model) every so many steps.

    A checkpoint beside the results makes the run resumable: it continues after the last yield. The finished folder
    holds config.json, model.safetensors, digest.txt and loss.csv; one that lacks no more than its card is left as it is.
    """
    checkpoint = folder / "checkpoint.pt"
    if _lacks_its_card(folder, recipe) and not checkpoint.exists():
        return
    run = Run(recipe, device)
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
                _write(run, folder)
                checkpoint.unlink()
            yield run.done, steps, run.losses[-1][1], run.averaged_model()


def _learning_rate(step: int, steps: int) -> float:
    return min(1.0, step / 200) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))


def _lacks_its_card(folder: Path, recipe: Recipe) -> bool:
    """Whether a run of this recipe ended here, and was stopped before it was done with its card."""
    if (folder / CARD).exists() or not (folder / "digest.txt").exists():
        return False
    kept = json.loads((folder / "config.json").read_text())
    return bool(kept["name"] == recipe.name and kept["training"] == _training(recipe))


def _training(recipe: Recipe) -> dict[str, Any]:
    names = ("steps", "posterior", "batch", "learning_rate", "ema", "seed", "target", "even", "start")
    return {name: getattr(recipe, name) for name in names}


def _write(run: Run, folder: Path) -> None:
    from safetensors.torch import save_file

    recipe, dtype = run.recipe, torch.float16 if run.recipe.half else torch.float32
    config = {
        "name": recipe.name,
        "process": {"name": recipe.process, "parameters": recipe.of_process},
        "parameterisation": asdict(recipe.parameterisation),
        "shape": recipe.data.shape,
        "data": recipe.data.name,
        "architecture": run.architecture,
        "training": _training(recipe),
    }
    (folder / CARD).unlink(missing_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {key: value.to("cpu", dtype).contiguous() for key, value in run.averaged.items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "digest.txt").write_text(folder_digest(folder) + "\n")
    with (folder / "loss.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["step", "loss"], *run.losses])

"""The card of a trained network: what it is, how it was made, its loss curve and a sheet of samples."""

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import torch

from scorebench.reference_models.addresses import load_model, shipped
from scorebench.reference_models.classifier import name_for
from scorebench.reference_models.datasets import DATASETS
from scorebench.reference_models.model import ExactModel, Model, model_digest
from scorebench.reference_models.network import WEIGHTS, NetworkModel, folder_digest

from .model_quality import IMAGES, MOST, STEPS, Quality, measure_quality, sample
from .references import latents

matplotlib.use("Agg")
ROWS, COLUMNS = 6, 16
Progress = Callable[[str], None]
EXACT_CARD = """# {name}

An exact model: density, denoiser, trace and samples are closed-form at every t of every process. Its parameters were
fitted to the 60,000 training images of Fashion-MNIST (28×28 pixels of 256 levels, dequantised uniformly to [−1, 1)).

| | |
|---|---|
| address | `exact:{name}`, with `?process=ve` and the like |
| fit again | `scorebench train {name}` |
{facts}| digest | `{digest}` |

Exact samples:

![samples](samples.png)
"""


def write_card(
    name: str, folder: Path, model: NetworkModel, samples: int = MOST, progress: Progress = lambda _: None
) -> None:
    """Measure a trained network's quality where that is not done yet, and draw samples.png, loss.png and card.md.

    The network is left in float32.
    """
    draw_sheet(model.to(torch.float32), folder / "samples.png")
    kept = folder / "quality.json"
    if not kept.is_file() or json.loads(kept.read_text())["digest"] != model.digest:
        kept.write_text(json.dumps(asdict(measure_quality(model, samples, progress)), indent=2) + "\n")
    quality = Quality(**json.loads(kept.read_text()))
    _draw_losses(folder, quality)
    (folder / "card.md").write_text(_text(name, folder, quality))


def write_exact_card(name: str, folder: Path) -> None:
    """Draw samples.png and card.md of an exact model fitted to data; name as in `exact:NAME`."""
    model = load_model(f"exact:{name}")
    assert isinstance(model, ExactModel)
    draw_sheet(model, folder / "samples.png")
    config = json.loads((folder / "config.json").read_text())
    facts = "".join(f"| {key} | {_told(value)} |\n" for key, value in config.items() if key != "name")
    (folder / "card.md").write_text(EXACT_CARD.format(name=name, facts=facts, digest=folder_digest(folder)))


def card_of(address: str) -> Path | None:
    """The card that ships with the model at that address, if there is one."""
    name = address.removeprefix("exact:").partition("?")[0]
    card = WEIGHTS.resolve() / name / "card.md"
    return card if card.is_file() and address.startswith("exact:") == (name not in shipped()) else None


def facts_of(model: Model) -> dict[str, str]:
    """What a table of models says of one."""
    exact, network = isinstance(model, ExactModel), isinstance(model, NetworkModel)
    size = parameters(model)
    return {
        "process": model.process.name,
        "predicts": model.parameterisation.prediction if isinstance(model, NetworkModel) else "x0",
        "shape": "×".join(map(str, model.shape)),
        "parameters": f"{size:,}" if size else "–",
        "truth": "exact" if exact else f"trained on {model.data}" if model.data else "yours",
        "digest": model_digest(model)[:12],
        "licence": "Apache-2.0" if exact or (network and model.data) else "its own",
    }


def parameters(model: Model) -> int:
    """How many numbers a model consists of: a network's parameters, or the tensors of an object."""
    held: Iterable[Any] = [model.network] if isinstance(model, NetworkModel) else vars(model).values()
    networks = [value for value in held if isinstance(value, torch.nn.Module)]
    return sum(value.numel() for value in held if isinstance(value, torch.Tensor)) + sum(
        p.numel() for network in networks for p in network.parameters()
    )


def _told(value: Any) -> str:
    """A fact of a fit as words: numbers to four decimals, tables as lists."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_told(held)}" for key, held in value.items())
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def draw_sheet(model: Model, path: Path) -> None:
    """Draw 96 samples of a model to a picture: images as a sheet of six rows, else the first two coordinates."""
    if isinstance(model, ExactModel):
        x = model.samples(ROWS * COLUMNS, torch.Generator().manual_seed(0)).float()
    else:
        x = sample(model, latents(model, ROWS * COLUMNS, 0, torch.float32))
    if len(model.shape) == 3:
        _draw_images(x, path)
        return
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
    axes.plot(*x.flatten(1)[:, :2].T, "o", markersize=3)
    axes.set(title=f"96 samples of {model.name}", xlabel="first coordinate", ylabel="second coordinate")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_images(x: torch.Tensor, path: Path) -> None:
    """Images x (96, c, h, w) in [−1, 1], their channels' mean, as a sheet of six rows."""
    from matplotlib import pyplot as plt

    height, width = x.shape[-2:]
    tiles = torch.full((ROWS, COLUMNS, height + 2, width + 2), 1.0)
    tiles[:, :, 1:-1, 1:-1] = x.mean(1).reshape(ROWS, COLUMNS, height, width).clamp(-1, 1)
    sheet = tiles.permute(0, 2, 1, 3).reshape(ROWS * (height + 2), COLUMNS * (width + 2))
    zoom = max(1, 48 // height)
    plt.imsave(path, sheet.numpy().repeat(zoom, 0).repeat(zoom, 1), cmap="gray", vmin=-1, vmax=1)


def _draw_losses(folder: Path, quality: Quality) -> None:
    """The loss while training, and the held-out loss at each noise level beside the exact model's."""
    from matplotlib import pyplot as plt

    with (folder / "loss.csv").open() as file:
        points = [(int(line["step"]), float(line["loss"])) for line in csv.DictReader(file)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    left.plot(*zip(*points, strict=True), marker="o", markersize=3)
    left.set(xlabel="training step", ylabel="mean squared error of the prediction", yscale="log", title=folder.name)
    for label, loss in ((folder.name, quality.loss), ("exact:ppca-fashion", quality.loss_exact)):
        if loss:
            right.plot([float(level) for level in loss], list(loss.values()), marker="o", markersize=3, label=label)
    right.set(xlabel="noise level σ/α", ylabel="held-out mean squared error of ε", xscale="log", yscale="log")
    right.legend(frameon=False)
    figure.savefig(folder / "loss.png", dpi=110)
    plt.close(figure)


def _text(name: str, folder: Path, quality: Quality) -> str:
    config = json.loads((folder / "config.json").read_text())
    recipe, p, unet = config["training"], config["parameterisation"], config["architecture"]
    start = f", starting from the weights of `{recipe['start']}`" if recipe.get("start") else ""
    told = recipe.get("posterior", 0)
    start += f", posterior means in place of clean images in the last {told}" if told else ""
    patches = " on 2×2 patches" if unet.get("patched") else ""
    each = ", as many of each label" if unet.get("num_class_embeds") else ""
    labels = f"; {unet['num_class_embeds'] - 1} labels and one for none" if unet.get("num_class_embeds") else ""
    exact = "" if quality.fid_exact is None else f"; exact samples of `exact:ppca-fashion` {quality.fid_exact:.3f}"
    floor = "" if quality.floor is None else f"; as many training images {quality.floor:.3f}"
    classifier = name_for(tuple(config["shape"]))
    rows = [
        f"| {level} | {loss:.4f} |" + (f" {quality.loss_exact[level]:.4f} |" if quality.loss_exact else "")
        for level, loss in quality.loss.items()
    ]
    head = "| σ/α | held-out loss |" + (" of exact:ppca-fashion |" if quality.loss_exact else "")
    table = "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows])
    return f"""# {name}

| | |
|---|---|
| process | {config["process"]["name"]} |
| predicts | {p["prediction"]}; input scale {p["input_scale"]}, time condition {p["conditioning"]}{labels} |
| data | {DATASETS[config["data"]].about} |
| architecture | diffusers `UNet2DModel`{patches}, channels {unet["block_out_channels"]}, no attention |
| recipe | AdamW, {recipe["steps"]} steps of {recipe["batch"]}, learning rate {recipe["learning_rate"]} \
with warm-up and cosine decay, weights averaged with decay {recipe["ema"]}, seed {recipe["seed"]}{start} |
| FID[{classifier}] of {quality.n} samples{each} | {quality.fid:.3f}{exact}{floor} |
| train again | `scorebench train {name}` |
| digest | `{(folder / "digest.txt").read_text().strip()}` |
| licence | Apache-2.0 (the data: {DATASETS[config["data"]].licence}) |

Samples of 96 latents of seed block 0 (exp-ab3, {STEPS + 1} network calls):

![samples](samples.png)

The loss is E|ε̂ − ε|²/d, on the first {IMAGES} held-out images.

{table}

![loss](loss.png)
"""

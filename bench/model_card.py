"""The card of a trained network: what it is, how it was made, its loss curve and a sheet of samples."""

import csv
import json
from pathlib import Path

import matplotlib
import torch

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import ExactModel
from scorebench.reference_models.network import NetworkModel, folder_digest
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.registry import find

from .references import latents

matplotlib.use("Agg")
ROWS, COLUMNS = 6, 16
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


def write_card(name: str, folder: Path, model: NetworkModel) -> None:
    """Draw samples.png, and loss.png, card.md where training has finished; the network is left in float32."""
    _draw_samples(model.to(torch.float32), folder / "samples.png")
    if (folder / "config.json").exists() and (folder / "loss.csv").exists():
        _draw_loss(folder)
        (folder / "card.md").write_text(_text(name, folder))


def write_exact_card(name: str, folder: Path) -> None:
    """Draw samples.png and card.md of an exact model fitted to data; name as in `exact:NAME`."""
    model = load_model(f"exact:{name}")
    assert isinstance(model, ExactModel)
    _draw_sheet(model.samples(ROWS * COLUMNS, torch.Generator().manual_seed(0)).float(), folder / "samples.png")
    config = json.loads((folder / "config.json").read_text())
    facts = "".join(f"| {key} | {value} |\n" for key, value in config.items() if key != "name")
    (folder / "card.md").write_text(EXACT_CARD.format(name=name, facts=facts, digest=folder_digest(folder)))


def _draw_samples(model: NetworkModel, path: Path) -> None:
    p = model.process
    with torch.no_grad():
        x = latents(model, ROWS * COLUMNS, 0, torch.float32)
        x = solve(model, find("exp-ab3"), make_grid("logsnr", p, 40, p.t_max, p.t_min), x, denoise=True).x
    _draw_sheet(x, path)


def _draw_sheet(x: torch.Tensor, path: Path) -> None:
    """Images x (96, 1, h, w) in [−1, 1] as a sheet of six rows."""
    from matplotlib import pyplot as plt

    height, width = x.shape[-2:]
    tiles = torch.full((ROWS, COLUMNS, height + 2, width + 2), 1.0)
    tiles[:, :, 1:-1, 1:-1] = x.reshape(ROWS, COLUMNS, height, width).clamp(-1, 1)
    sheet = tiles.permute(0, 2, 1, 3).reshape(ROWS * (height + 2), COLUMNS * (width + 2))
    zoom = max(1, 48 // height)
    plt.imsave(path, sheet.numpy().repeat(zoom, 0).repeat(zoom, 1), cmap="gray", vmin=-1, vmax=1)


def _draw_loss(folder: Path) -> None:
    from matplotlib import pyplot as plt

    with (folder / "loss.csv").open() as file:
        points = [(int(line["step"]), float(line["loss"])) for line in csv.DictReader(file)]
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    axes.plot(*zip(*points, strict=True), marker="o", markersize=3)
    axes.set(xlabel="training step", ylabel="mean squared error of the prediction", yscale="log", title=folder.name)
    figure.savefig(folder / "loss.png", dpi=110)
    plt.close(figure)


def _text(name: str, folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text())
    recipe, p, unet = config["training"], config["parameterisation"], config["architecture"]
    return f"""# {name}

| | |
|---|---|
| process | {config["process"]["name"]} |
| predicts | {p["prediction"]}; input scale {p["input_scale"]}, time condition {p["conditioning"]} |
| data | 1,000 of the 1,797 scans of handwritten digits that ship with scikit-learn, \
8×8 pixels of 17 levels, indices in `digits_split.json`, dequantised uniformly to [−1, 1); the other 797 are held out |
| architecture | diffusers `UNet2DModel`, channels {unet["block_out_channels"]}, no attention |
| recipe | AdamW, {recipe["steps"]} steps of {recipe["batch"]}, learning rate {recipe["learning_rate"]} \
with warm-up and cosine decay, weights averaged with decay {recipe["ema"]}, seed {recipe["seed"]} |
| train again | `scorebench train {name}` |
| digest | `{(folder / "digest.txt").read_text().strip()}` |

Samples of 96 latents of seed block 0 (exp-ab3, 41 network calls):

![samples](samples.png)

![loss](loss.png)
"""

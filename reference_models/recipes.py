"""How each shipped network is trained: data, process, parameterisation, architecture and optimisation."""

from dataclasses import dataclass, field, replace
from typing import Any

from . import classifier, ppca
from .datasets import DIGITS, FASHION, DataSet
from .errors import unknown
from .parameterisation import Parameterisation, Prediction

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
FASHION_UNET: dict[str, Any] = {
    **DIGITS_UNET,
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [32, 64, 96],
    "down_block_types": ["DownBlock2D"] * 3,
    "up_block_types": ["UpBlock2D"] * 3,
}
CLASSES, DROPPED = 10, 0.1  # of labelled networks: the label that stands for none, and how often it is shown


@dataclass(frozen=True)
class Recipe:
    """What determines a trained network: data, process, parameterisation, architecture and optimisation.

    The loss compares `target`, the network's own prediction unless given. In the last `posterior` steps the network is shown
    the mean of all images that x_t may come from, which x₀ is on average (Xu et al. 2023, arXiv:2302.00670). `start` names
    a shipped network whose weights are the first ones here.
    """

    name: str
    process: str
    parameterisation: Parameterisation
    data: DataSet = DIGITS
    architecture: dict[str, Any] = field(default_factory=lambda: DIGITS_UNET)
    steps: int = 7000
    posterior: int = 0
    batch: int = 256
    learning_rate: float = 2e-3
    ema: float = 0.999
    seed: int = 0
    labelled: bool = False
    half: bool = False  # whether it is trained in bfloat16 where that is faster, and shipped in half precision
    target: Prediction | None = None
    even: bool = False  # whether times are drawn evenly in σ/(α + σ), flow matching's t, and not in the process's own
    start: str | None = None
    of_process: dict[str, float] = field(default_factory=dict)  # what differs from the process's defaults


def _garments(name: str, process: str, parameterisation: Parameterisation, seed: int, **changes: Any) -> Recipe:
    """The first from scratch, the others in few small steps from there: at one level of noise all are asked for one v.

    Larger steps lose what the first learnt in its last ones. Labels, which are new, take more. All compare v, whose error
    weighs the levels of noise evenly (Salimans & Ho 2022, arXiv:2202.00512, section 4).
    """
    start = None if name == "fashion-vp" else "fashion-vp"
    steps, posterior, rate = (26000, 4000, 1.5e-3) if start is None else (600, 0, 5e-5)
    if changes.get("labelled"):
        steps, rate = 2500, 2e-4
    if name == "fashion-subvp":  # FID 0.245; with the steps of the others 0.267
        posterior, rate = 600, 2e-5
    unet = {**FASHION_UNET, "patched": parameterisation.prediction}
    return Recipe(
        name, process, parameterisation, FASHION, unet, steps, posterior, 64, rate, 0.9995, seed, half=True, target="v",
        even=True, start=start, **changes,
    )  # fmt: skip


RECIPES = {
    recipe.name: recipe
    for recipe in (
        # conditioned on log σ̂: with 999·t the learnt field is so rough in t that no reference solution can be verified
        Recipe("digits-vp", "vp", Parameterisation("epsilon", "none", "log_sigma")),
        Recipe("digits-ve", "ve", Parameterisation("v", "unit", "log_sigma"), seed=1),
        _garments("fashion-vp", "vp", Parameterisation("epsilon", "none", "log_sigma"), 0),
        # from σ = 50 on, N(0, σ²) and the images' own mean would differ so much that samples show it: FID 0.33
        _garments(
            "fashion-ve",
            "ve",
            Parameterisation("scaled_score", "unit", "log_sigma"),
            1,
            of_process={"sigma_max": 150.0},
        ),
        _garments("fashion-subvp", "subvp", Parameterisation("epsilon", "unit", "log_sigma"), 2),
        _garments("fashion-flow", "flow", Parameterisation("flow", "unit", "log_sigma"), 3),
        _garments("fashion-vp-cond", "vp", Parameterisation("epsilon", "none", "log_sigma"), 4, labelled=True),
    )
}


def recipe_of(name: str, steps: int | None = None, batch: int | None = None) -> Recipe:
    """The recipe of that name, of so many steps and images a step if given; UsageError for an unknown name."""
    if name not in RECIPES:
        raise unknown("model to train", name, [*RECIPES, *classifier.RECIPES, ppca.PPCA, ppca.GAUSSIAN])
    recipe = RECIPES[name]
    if steps is not None:
        recipe = replace(recipe, steps=steps, posterior=steps * recipe.posterior // recipe.steps)
    return replace(recipe, batch=batch or recipe.batch)

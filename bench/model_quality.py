"""How good a trained network is: its loss at each noise level on held-out images, and the FID of its samples."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import ExactModel, Model
from scorebench.reference_models.network import NetworkModel
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.registry import find

from .distances import frechet
from .features import extractor_of, floor_features, real_features, training_features
from .references import images, latents

MOST = 5000  # samples of the FID
IMAGES = 512  # held-out images of the losses
LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0)  # of noise, as σ̂ = σ/α
STEPS = 48  # of third-order exponential Adams–Bashforth: far below what FID can see


@dataclass(frozen=True)
class Quality:
    """Held-out losses E|ε̂ − ε|²/d by noise level, of the network and of the exact model beside it, and FID of n samples."""

    digest: str
    n: int
    fid: float
    fid_exact: float | None
    floor: float | None
    loss: dict[str, float]
    loss_exact: dict[str, float]


def measure_quality(model: NetworkModel, n: int = MOST, progress: Callable[[str], None] = lambda _: None) -> Quality:
    """Losses of a float32 network and FID of its samples, beside those of the exact model of the same data.

    There are n samples, or as many as the training images whose features ship, if those are fewer; of a network with labels
    as many of each, which the held-out images have too.
    """
    exact, n = exact_beside(model), min(n, training_features(model))
    x0 = images(model, IMAGES, 0, torch.float32)
    extractor, real = extractor_of(model), real_features(model)
    assert real is not None
    parts = []
    chunks = latents(model, n, 0, torch.float32).split(250)
    for number, x in enumerate(chunks):
        progress(f"{model.name}: part {number + 1} of {len(chunks)} of {n} samples")
        parts.append(extractor.extract(sample(of_turn(model, number), x)))
    floor = floor_features(model, n)
    generator = torch.Generator().manual_seed(0)
    draws = None if exact is None else extractor.extract(exact.samples(n, generator))
    return Quality(
        model.digest, n, frechet(np.concatenate(parts), real),
        None if draws is None else frechet(draws, real),
        None if floor is None else frechet(floor, real), losses(model, x0),
        {} if exact is None else losses(exact, x0),
    )  # fmt: skip


def of_turn(model: NetworkModel, number: int) -> NetworkModel:
    """The network, where it has labels asked for the one whose turn it is."""
    if model.null is None:
        return model
    asked = copy(model)
    asked.label = number % model.null
    return asked


def exact_beside(model: Model) -> ExactModel | None:
    """The exact model that was fitted to the same data, where there is one."""
    if model.data != "fashion":
        return None
    exact = load_model("exact:ppca-fashion")
    assert isinstance(exact, ExactModel)
    return exact


def sample(model: Model, x: Tensor) -> Tensor:
    """A converged solution from latents x (n, *d), with the final denoise."""
    p = model.process
    with torch.no_grad():
        return solve(model, find("exp-ab3"), make_grid("logsnr", p, STEPS, p.t_max, p.t_min), x, denoise=True).x


def losses(model: Model, x0: Tensor) -> dict[str, float]:
    """Mean squared error of ε per dimension on images x0 (n, *d), by noise level σ̂, where the process has it."""
    p, by_level = model.process, {}
    low, high = (float(p.sigma_hat(torch.tensor(t, dtype=torch.float64))) for t in (p.t_trained, p.t_max))
    for number, level in enumerate(LEVELS):
        if not low <= level <= high:
            continue
        t = p.t_of_sigma_hat(torch.tensor(level, dtype=torch.float64))
        alpha, sigma = p.alpha(t), p.sigma(t)
        eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(number))
        x = alpha * x0 + sigma * eps
        with torch.no_grad():
            denoised = torch.cat([model.denoise(part, t) for part in x.split(128)])
        by_level[f"{level:g}"] = float(((x - alpha * denoised) / sigma - eps).pow(2).mean())
    return by_level

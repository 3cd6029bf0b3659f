"""The exact flow that certificates follow: 32 samples of the mixture in the plane from σ̂ = 4 to ¼, on any process.

In y = x/α and σ̂ = σ/α the flow is the same for every process, so one dense solution to 1e-13 serves all.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import ExactModel
from scorebench.reference_models.process import Process

SAMPLES = 32
FIRST, LAST = 4.0, 0.25  # σ̂ at both ends: t = 0.8 and 0.2 of the rectified flow
DOUBLE = torch.float64


def mixture(process: str) -> ExactModel:
    """`exact:gmm` on a process of default parameters."""
    model = load_model(f"exact:gmm?process={process}")
    assert isinstance(model, ExactModel)
    return model


def ends(process: Process) -> tuple[float, float]:
    """The times of σ̂ = FIRST and LAST."""
    first, last = process.t_of_sigma_hat(torch.tensor([FIRST, LAST], dtype=DOUBLE)).tolist()
    return first, last


@cache
def _flow(speed: float, seed: int) -> Any:
    """y (64,) as a function of log σ̂ with dy/d log σ̂ = speed · (y − D): Dormand–Prince 8(5, 3) with its dense output."""
    model = mixture("edm")
    generator = torch.Generator().manual_seed(seed)
    x0 = model.samples(SAMPLES, generator)
    y = x0 + FIRST * torch.randn(x0.shape, generator=generator, dtype=DOUBLE)

    def slope(s: float, flat: np.ndarray) -> np.ndarray:
        at = torch.from_numpy(flat).reshape(SAMPLES, -1)
        return np.asarray(speed * (at - model.denoise(at, torch.tensor(np.exp(s)))).flatten().numpy())

    span = (np.log(FIRST), np.log(LAST))
    solution = solve_ivp(slope, span, y.flatten().numpy(), "DOP853", dense_output=True, rtol=1e-13, atol=1e-14)
    return solution.sol


def exact(process: Process, t: float, speed: float = 1.0, seed: int = 0) -> Tensor:
    """The 32 trajectories at time t of a process (32, 2), float64.

    `speed` 1 is the probability-flow ODE; 1 + η² is the drift of the reverse SDE with its noise left out.
    """
    time = torch.tensor(t, dtype=DOUBLE)
    y = _flow(speed, seed)(float(torch.log(process.sigma_hat(time))))
    return process.alpha(time) * torch.from_numpy(y).reshape(SAMPLES, -1)

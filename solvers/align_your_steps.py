"""Align Your Steps: the noise levels that Sabour et al. 2024 (arXiv:2404.14507, table 3) optimised for four public models."""

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.process import Process

# σ̂ at eleven points; copies of these tables elsewhere end in σ̂ = 0, the paper's own end above it
STABLE_DIFFUSION_15 = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
DEEPFLOYD = (160.41, 8.081, 3.315, 1.885, 1.207, 0.785, 0.553, 0.293, 0.186, 0.030, 0.006)
STABLE_VIDEO = (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)


def aligned(table: tuple[float, ...], process: Process, high: Tensor, low: Tensor, steps: int) -> Tensor:
    """The table at other numbers of steps, log σ̂ linear between its points, as the paper's guide prescribes.

    log σ̂ is then stretched linearly so that its ends are those of the process: on the range of the table this changes
    nothing beyond the rounding of the published figures, on any other it keeps the ratios of the steps in λ.
    """
    places = np.linspace(0, 1, len(table))
    lam = torch.from_numpy(np.interp(np.linspace(0, 1, steps + 1), places, -np.log(table)))
    ends = process.lam(torch.stack([high, low]))
    return process.t_of_lam(ends[0] + (lam - lam[0]) / (lam[-1] - lam[0]) * (ends[1] - ends[0]))


def ays_sd15(process: Process, high: Tensor, low: Tensor, steps: int) -> Tensor:
    """Align Your Steps for Stable Diffusion 1.5, its ends moved to those of the process."""
    return aligned(STABLE_DIFFUSION_15, process, high, low, steps)


def ays_sdxl(process: Process, high: Tensor, low: Tensor, steps: int) -> Tensor:
    """Align Your Steps for SDXL, its ends moved to those of the process."""
    return aligned(SDXL, process, high, low, steps)


def ays_deepfloyd(process: Process, high: Tensor, low: Tensor, steps: int) -> Tensor:
    """Align Your Steps for DeepFloyd-IF, stage 1, its ends moved to those of the process."""
    return aligned(DEEPFLOYD, process, high, low, steps)


def ays_svd(process: Process, high: Tensor, low: Tensor, steps: int) -> Tensor:
    """Align Your Steps for Stable Video Diffusion, its ends moved to those of the process."""
    return aligned(STABLE_VIDEO, process, high, low, steps)

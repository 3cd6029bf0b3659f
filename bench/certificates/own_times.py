"""A DDIM scheduler on the times that it chooses itself: whether it steps from each of them to the next."""

from typing import Any

import torch
from torch import Tensor

from scorebench.reference_models.torchvision_repair import repair

from .flags import flags_of
from .trajectory import mixture


def stride_error(address: str, steps: int = 40) -> float:
    """How far a DDIM scheduler on its own times ends from DDIM's formula on those times, relatively.

    Both walk the mixture's flow on the default table of 1,000 steps up to the scheduler's last time.
    """
    repair()
    import diffusers

    flags = flags_of(address.partition("?")[2])
    scheduler: Any = diffusers.DDIMScheduler(**{"clip_sample": False, **flags})
    scheduler.set_timesteps(steps)
    cumulative = scheduler.alphas_cumprod.double()[scheduler.timesteps]
    alpha, sigma = cumulative.sqrt(), (1 - cumulative).sqrt()
    model = mixture("edm")
    x = theirs = torch.randn(32, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def eps(x: Tensor, n: int) -> Tensor:
        d = model.denoise(x / alpha[n], sigma[n] / alpha[n])
        return torch.div(x - alpha[n] * d, sigma[n])

    for n in range(steps - 1):
        x = alpha[n + 1] / alpha[n] * (x - sigma[n] * (e := eps(x, n))) + sigma[n + 1] * e
        theirs = scheduler.step(eps(theirs, n), scheduler.timesteps[n], theirs).prev_sample
    return float((theirs - x).norm() / x.norm())

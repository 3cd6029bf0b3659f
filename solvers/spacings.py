"""Closed-form time grids: n + 1 times from t = high down to t = low, which both belong to the grid. float64, on the host."""

import torch
from torch import Tensor

from scorebench.reference_models.discrete import DiscreteVP
from scorebench.reference_models.process import Process

TRAINING_STEPS = 1000  # of the published discrete models; a continuous process is spaced as if it had so many


def between(high: Tensor, low: Tensor, steps: int) -> Tensor:
    """Equally spaced numbers (steps + 1,)."""
    return high + (low - high) * torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def time_uniform(process: Process, high: Tensor, low: Tensor, steps: int) -> Tensor:
    """Equal steps in t."""
    return between(high, low, steps)


def time_quadratic(process: Process, high: Tensor, low: Tensor, steps: int) -> Tensor:
    """Equal steps in √t (Song, Meng & Ermon 2021, arXiv:2010.02502, appendix D.2)."""
    return between(torch.sqrt(high), torch.sqrt(low), steps) ** 2


def logsnr(process: Process, high: Tensor, low: Tensor, steps: int) -> Tensor:
    """Equal steps in λ, the half log-SNR: σ̂ in geometric progression (Lu et al. 2022, arXiv:2206.00927, section 3.3)."""
    return process.t_of_lam(between(process.lam(high), process.lam(low), steps))


def karras(process: Process, high: Tensor, low: Tensor, steps: int, *, rho: float = 7.0) -> Tensor:
    """Equal steps in σ̂^(1/ρ) (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""
    top, bottom = (process.sigma_hat(t) ** (1 / rho) for t in (high, low))
    return process.t_of_sigma_hat(between(top, bottom, steps) ** rho)


def cosine(process: Process, high: Tensor, low: Tensor, steps: int, *, sigma_data: float = 1.0) -> Tensor:
    """Equal steps in arctan(σ̂/σ_data): those of the cosine noise schedule (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17).

    It is also the KL-optimal grid of isotropic Gaussian data (Sabour et al. 2024, arXiv:2404.14507, section 3.1).
    """
    top, bottom = (torch.atan(process.sigma_hat(t) / sigma_data) for t in (high, low))
    return process.t_of_sigma_hat(sigma_data * torch.tan(between(top, bottom, steps)))


def leading(process: Process, high: Tensor, low: Tensor, steps: int, *, steps_offset: float = 0.0) -> Tensor:
    """Integer steps k·⌊N/(n+1)⌋ + offset, k = n … 0, as timestep_spacing="leading" (Lin et al. 2024, arXiv:2305.08891, table 2).

    As published it begins below the last training step (900 of 999 at n = 9); here the first time is t_max and the last
    t_min, as for every grid, so the first step is longer. The times between are the published ones.
    """
    stride = training_steps(process, high, low) // (steps + 1)
    return at_training_step(process, high, low, torch.arange(steps, -1, -1) * stride + steps_offset)


def linspace(process: Process, high: Tensor, low: Tensor, steps: int) -> Tensor:
    """Equal steps rounded to integer ones, both ends among them, as timestep_spacing="linspace" (arXiv:2305.08891, table 2)."""
    last = training_steps(process, high, low) - 1
    return at_training_step(
        process, high, low, torch.round(between(torch.tensor(float(last)), torch.tensor(0.0), steps))
    )


def trailing(process: Process, high: Tensor, low: Tensor, steps: int) -> Tensor:
    """Integer steps N(1 − k/n) − 1, rounded, k < n, as timestep_spacing="trailing" (arXiv:2305.08891, table 2), then t_min.

    Published samplers go from the last of these to σ = 0; here the grid ends at t_min, as for every grid.
    """
    n = training_steps(process, high, low)
    k = torch.round(n - torch.arange(steps) * n / steps) - 1
    return at_training_step(process, high, low, torch.cat([k, torch.zeros(1)]))


def beta(process: Process, high: Tensor, low: Tensor, steps: int, *, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Quantiles of Beta(α, β) in t (Lee et al. 2024, arXiv:2407.12173), dense at both ends; without rounding to integer steps."""
    return low + (high - low) * quantiles(alpha, beta, steps)


def beta_sigma(
    process: Process, high: Tensor, low: Tensor, steps: int, *, alpha: float = 0.6, beta: float = 0.6
) -> Tensor:
    """Quantiles of Beta(α, β) in σ̂: what use_beta_sigmas of diffusers means, which is not the grid of the paper."""
    top, bottom = process.sigma_hat(high), process.sigma_hat(low)
    return process.t_of_sigma_hat(bottom + (top - bottom) * quantiles(alpha, beta, steps))


def shift(process: Process, high: Tensor, low: Tensor, steps: int, *, shift: float = 3.0) -> Tensor:
    """Equal steps in the time u of flow matching, then shifted: u' = s u/(1 + (s − 1) u), that is, σ̂' = s σ̂.

    Esser et al. 2024, arXiv:2403.03206, eq. 23. u = σ̂/(1 + σ̂) is the time of rectified flow whatever the process, and its
    range is the one whose shifted ends are t_max and t_min. shift = 1 is `time_uniform` of a flow.
    """
    top, bottom = (torch.sigmoid(torch.log(process.sigma_hat(t) / shift)) for t in (high, low))
    u = between(top, bottom, steps)
    return process.t_of_sigma_hat(shift * u / (1 - u))


def quantiles(alpha: float, beta: float, steps: int) -> Tensor:
    """Quantiles of a Beta distribution (steps + 1,) from 1 down to 0."""
    from scipy.special import betaincinv  # which takes a third of a second to import

    levels = between(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0), steps)
    return torch.from_numpy(betaincinv(alpha, beta, levels.numpy()))


def training_steps(process: Process, high: Tensor, low: Tensor) -> int:
    """How many integer steps lie from low to high: those of a discrete process, else as if there were 1000."""
    return round(float(high - low)) + 1 if isinstance(process, DiscreteVP) else TRAINING_STEPS


def at_training_step(process: Process, high: Tensor, low: Tensor, k: Tensor) -> Tensor:
    """The times of integer steps k: the steps of a discrete process, the same fractions of the interval of a continuous one."""
    return low + (high - low) * k.double() / (training_steps(process, high, low) - 1)

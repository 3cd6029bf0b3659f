"""`exact:gaussian`: data N(m, C), whose every trajectory of the probability-flow ODE is known in closed form."""

import math

import torch
from torch import Tensor

from .parameterisation import broadcast
from .process import Process

DIMENSION = 16


class Gaussian:
    """Data N(m, C) with C = U diag(Λ) Uᵀ; p_t = N(αm, α²C + σ²I)."""

    exact = True
    data: str | None = None

    def __init__(
        self, process: Process, mean: Tensor, variances: Tensor, axes: Tensor, shape: tuple[int, ...] | None = None
    ) -> None:
        """`mean` (d,), `variances` Λ (d,), `axes` U (d, d) with the principal axes as columns; float64."""
        self.name, self.process, self.shape = "gaussian", process, shape or tuple(mean.shape)
        self.mean, self.variances, self.axes = mean, variances, axes
        self._cache: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """D(x, t) = m + U diag(αΛ/(α²Λ + σ²)) Uᵀ (x − αm), for x (b, *d)."""
        (alpha, gain), (mean, axes) = self._alpha_gain(t), self._in(x)
        y = (x.flatten(1) - alpha.to(x) * mean) @ axes
        return (mean + (y * gain.to(x)) @ axes.T).reshape(x.shape)

    def denoise_trace(self, x: Tensor, t: Tensor) -> Tensor:
        """tr ∂D/∂x (b,): the same everywhere."""
        return self._alpha_gain(t)[1].sum(-1).to(x).expand(len(x))

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        """log p_t(x) in nats (b,), for x (b, *d) and one time t ()."""
        alpha = self.process.alpha(t)
        variance = alpha**2 * self.variances + self.process.sigma(t) ** 2
        y = (x.double().flatten(1) - alpha * self.mean) @ self.axes
        return -0.5 * (y**2 / variance + torch.log(2 * math.pi * variance)).sum(1)

    def samples(self, n: int, generator: torch.Generator) -> Tensor:
        """n independent draws of the data (n, *shape), float64."""
        z = torch.randn(n, len(self.mean), generator=generator, dtype=torch.float64)
        return (self.mean + (z * torch.sqrt(self.variances)) @ self.axes.T).reshape(n, *self.shape)

    def moments(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean αm (d,) and covariance α²C + σ²I (d, d) of p_t, for one time t ()."""
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        variance = alpha**2 * self.variances + sigma**2
        return alpha * self.mean, (self.axes * variance) @ self.axes.T

    def flow_map(self, x: Tensor, t_from: Tensor, t_to: Tensor) -> Tensor:
        """Where the probability-flow ODE carries x (b, *d) from t_from () to t_to ()."""
        a, b = self.process.alpha(t_from), self.process.alpha(t_to)
        v_from = a**2 * self.variances + self.process.sigma(t_from) ** 2
        v_to = b**2 * self.variances + self.process.sigma(t_to) ** 2
        y = (x.double().flatten(1) - a * self.mean) @ self.axes
        return (b * self.mean + (y * torch.sqrt(v_to / v_from)) @ self.axes.T).reshape(x.shape)

    def _in(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and axes in x's dtype and on its device, converted once."""
        key = (x.dtype, x.device)
        if key not in self._cache:
            self._cache[key] = self.mean.to(x), self.axes.to(x)
        return self._cache[key]

    def _alpha_gain(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α, as () or (b, 1), and the gain αΛ/(α²Λ + σ²) along each axis, (d,) or (b, d)."""
        alpha, sigma = (broadcast(c, self.mean[None]) for c in (self.process.alpha(t), self.process.sigma(t)))
        return alpha, alpha * self.variances / (alpha**2 * self.variances + sigma**2)


def gaussian(process: Process) -> Gaussian:
    """16 dimensions, standard deviations from 1 down to 0.03 along fixed random axes, mean 0.3 in each."""
    generator = torch.Generator().manual_seed(16)
    axes, _ = torch.linalg.qr(torch.randn(DIMENSION, DIMENSION, generator=generator, dtype=torch.float64))
    deviations = torch.logspace(0, math.log10(0.03), DIMENSION, dtype=torch.float64)
    return Gaussian(process, torch.full((DIMENSION,), 0.3, dtype=torch.float64), deviations**2, axes)

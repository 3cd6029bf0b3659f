"""`exact:gmm`: a two-dimensional mixture of isotropic Gaussians; denoiser, density, trace and samples at every t."""

import math

import torch
from torch import Tensor

from .parameterisation import broadcast
from .process import Process


class Mixture:
    """Data Σ_k w_k N(m_k, s_k² I), so p_t = Σ_k w_k N(αm_k, v_k I) with v_k = α²s_k² + σ²."""

    exact = True
    data: str | None = None

    def __init__(self, process: Process, weights: Tensor, means: Tensor, deviations: Tensor) -> None:
        """`weights` (k,), `means` (k, d), `deviations` s (k,); float64."""
        self.name, self.process, self.shape = "exact:gmm", process, tuple(means.shape[1:])
        self.weights, self.means, self.deviations = weights, means, deviations

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """D = Σ_k r_k d_k with d_k = m_k + (αs_k²/v_k)(x − αm_k), for x (b, d) and t () or (b,)."""
        r, d, _, _ = self._components(x, t)
        return (r[..., None] * d).sum(1)

    def denoise_trace(self, x: Tensor, t: Tensor) -> Tensor:
        """tr ∂D/∂x = Σ_k r_k (d·αs_k²/v_k + d_k·(g_k − ḡ)), g_k = −(x − αm_k)/v_k, (b,)."""
        r, d, g, gain = self._components(x, t)
        g_mean = (r[..., None] * g).sum(1, keepdim=True)
        return (r * (x.shape[1] * gain + (d * (g - g_mean)).sum(-1))).sum(1)

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        """log p_t(x) in nats (b,), float64."""
        return torch.logsumexp(self._log_joint(x.double(), t)[0], 1)

    def samples(self, n: int, generator: torch.Generator) -> Tensor:
        """n independent draws of the data (n, d), float64."""
        choice = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, *self.shape, generator=generator, dtype=torch.float64)
        return self.means[choice] + self.deviations[choice, None] * z

    def _log_joint(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log w_k N(x; αm_k, v_k) (b, k), x − αm_k (b, k, d), α and v (., k), in the dtype of x."""
        alpha = broadcast(self.process.alpha(t), self.weights[None])
        sigma = broadcast(self.process.sigma(t), self.weights[None])
        v = (alpha**2 * self.deviations**2 + sigma**2).to(x)
        alpha = alpha.to(x)
        offset = x[:, None] - alpha[..., None] * self.means.to(x)  # (b, k, d)
        d = x.shape[1]
        log_w = torch.log(self.weights).to(x)
        log_joint = log_w - 0.5 * (offset**2).sum(-1) / v - 0.5 * d * torch.log(2 * math.pi * v)
        return log_joint, offset, alpha, v

    def _components(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Responsibilities r (b, k), d_k (b, k, d), g_k (b, k, d) and the gain αs_k²/v_k (., k)."""
        log_joint, offset, alpha, v = self._log_joint(x, t)
        gain = alpha * (self.deviations**2).to(x) / v
        return torch.softmax(log_joint, 1), self.means.to(x) + gain[..., None] * offset, -offset / v[..., None], gain


def mixture(process: Process) -> Mixture:
    """Five components of unequal weight and width on an uneven ring; nothing about it is symmetric."""
    angles = torch.tensor([0.2, 1.3, 2.9, 4.1, 5.3], dtype=torch.float64)
    radii = torch.tensor([0.9, 0.7, 1.0, 0.6, 0.95], dtype=torch.float64)
    means = radii[:, None] * torch.stack([torch.cos(angles), torch.sin(angles)], 1)
    weights = torch.tensor([0.3, 0.15, 0.25, 0.1, 0.2], dtype=torch.float64)
    return Mixture(process, weights, means, torch.tensor([0.1, 0.2, 0.15, 0.12, 0.25], dtype=torch.float64))

"""Mixtures of low-rank Gaussians: denoiser, density, trace and samples in closed form at every t, at image scale.

Component k is N(m_k, C_k) with C_k = s_k² I + U_k diag(l_k) U_kᵀ, U_k (d, r) orthonormal: a mixture of probabilistic
PCA (Tipping & Bishop 1999, doi:10.1162/089976699300016728); r = 0 is a mixture of isotropic Gaussians, and s = 0 beside
it a finite data set. At time t component k is N(αm_k, α²C_k + σ²I), whose variance is v_kj along U_k and v_k elsewhere.
"""

import math
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor

from .datasets import DIGITS
from .process import Process

ENTRIES = 2**19  # between the two products at once, which stay in a cache
LEAST = 64  # rows at once: with fewer the products wait for their large factors


@dataclass(frozen=True)
class Parameters:
    """The mixture's tensors in one dtype on one device, with what every call needs of them."""

    log_weights: Tensor  # (k,)
    basis: Tensor  # U as (d, k·r), then the means as (d, k): what x is multiplied by, and what D is made of
    variances: Tensor  # s_k² (k,)
    extra: Tensor  # l_kj (k, r)
    centres: Tensor  # m_k · U_kj (k, r)
    square_means: Tensor  # |m_k|² (k,)


@dataclass(frozen=True)
class Components:
    """Where x stands towards each component at t; the leading dimension of v0, v, g0, g is 1 for one time."""

    p: Parameters
    log_joint: Tensor  # log w_k N(x; …) (b, k)
    a: Tensor  # U_kᵀ (x − αm_k) (b, k, r)
    along_means: Tensor  # m_k · x (b, k)
    alpha: Tensor  # (., 1)
    v0: Tensor  # (., k)
    v: Tensor  # (., k, r)

    @property
    def responsibilities(self) -> Tensor:
        return torch.softmax(self.log_joint, 1)

    @property
    def gains(self) -> tuple[Tensor, Tensor]:
        """αC_k(α²C_k + σ²)⁻¹ across U_k (., k) and along it (., k, r)."""
        g0 = self.alpha * self.p.variances / self.v0
        return g0, self.alpha[..., None] * (self.p.extra + self.p.variances[:, None]) / self.v


class Mixture:
    """Data Σ_k w_k N(m_k, C_k) on any process."""

    exact = True
    data: str | None = None

    def __init__(
        self,
        process: Process,
        weights: Tensor,
        means: Tensor,
        deviations: Tensor,
        extra: Tensor | None = None,
        axes: Tensor | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        """`weights` (k,), `means` (k, d), `deviations` s (k,), `extra` l (k, r), `axes` U (k, d, r); float64."""
        k, d = means.shape
        self.name, self.process, self.shape = "mixture", process, shape or (d,)
        self.weights, self.means, self.deviations = weights, means, deviations
        self.extra = means.new_zeros(k, 0) if extra is None else extra
        self.axes = means.new_zeros(k, d, 0) if axes is None else axes
        self._cache: dict[tuple[torch.dtype, torch.device], Parameters] = {}

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """D = Σ_k r_k (m_k + αC_k(α²C_k + σ²)⁻¹(x − αm_k)), for x (b, *d) and t () or (b,)."""
        rows = max(LEAST, ENTRIES // (self.axes.shape[0] * (self.axes.shape[2] + 1)))
        if len(x) > rows:
            parts, times = x.split(rows), t.split(rows) if t.ndim else repeat(t)
            return torch.cat([self.denoise(part, at) for part, at in zip(parts, times, strict=False)])
        c = self._components(x, t)
        return self._denoise(x.flatten(1), c).reshape(x.shape)

    def denoise_trace(self, x: Tensor, t: Tensor) -> Tensor:
        """tr ∂D/∂x = Σ_k r_k tr G_k + (σ²/α)(Σ_k r_k |y_k|² − |Σ_k r_k y_k|²), (b,).

        G_k is the gain of component k; the second term is the covariance of r and d_k, since αd_k = x + σ²g_k, where g_k is
        the score of component k. Of g_k only what differs between components counts: y_k = g_k + cx = e_k x + αm_k/v_k0
        + U_k w_k, with the c that makes Σ_k r_k e_k vanish, so that nothing cancels where α is small.
        """
        c, flat = self._components(x, t), x.flatten(1)
        r, (g0, g), d, rank = c.responsibilities, c.gains, flat.shape[1], c.a.shape[2]
        ratio = c.alpha / (self.process.sigma(t) ** 2).to(x).reshape(-1, 1)
        mean_gain = (r * g0).sum(1, keepdim=True)
        e, shrink = ratio * (g0 - mean_gain), c.alpha / c.v0
        w = (1 / c.v0[..., None] - 1 / c.v) * c.a
        along_x = c.a + c.alpha[..., None] * c.p.centres  # U_kᵀ x
        squares = e**2 * (flat**2).sum(1, keepdim=True) + shrink**2 * c.p.square_means + (w**2).sum(-1)
        crosses = e * shrink * c.along_means + (w * (e[..., None] * along_x + shrink[..., None] * c.p.centres)).sum(-1)
        mean = ratio * (self._denoise(flat, c) - mean_gain * flat)
        spread = (r * (squares + 2 * crosses)).sum(1) - (mean**2).sum(1)
        return (r * ((d - rank) * g0 + g.sum(-1))).sum(1) + spread / ratio[:, 0]

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        """log p_t(x) in nats (b,), float64."""
        return torch.logsumexp(self._components(x.double(), t).log_joint, 1)

    def samples(self, n: int, generator: torch.Generator) -> Tensor:
        """n independent draws of the data (n, *shape), float64."""
        choice = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64)
        x = self.means[choice] + self.deviations[choice, None] * z
        for k in choice.unique().tolist() if self.extra.shape[1] else []:
            rows = choice == k
            y = torch.randn(int(rows.sum()), self.extra.shape[1], generator=generator, dtype=torch.float64)
            x[rows] += (y * self.extra[k].sqrt()) @ self.axes[k].T
        return x.reshape(n, *self.shape)

    def moments(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (d,) and covariance (d, d) of p_t: α²(Σ_k w_k (C_k + m_k m_kᵀ) − m mᵀ) + σ²I, for one time t ()."""
        alpha, sigma, w = self.process.alpha(t), self.process.sigma(t), self.weights
        mean = w @ self.means
        centred = self.means - mean
        spread = self.axes.permute(1, 0, 2).flatten(1)  # (d, k·r)
        covariance = (centred.T * w) @ centred + (spread * (w[:, None] * self.extra).flatten()) @ spread.T
        noise = alpha**2 * (w @ self.deviations**2) + sigma**2
        return alpha * mean, alpha**2 * covariance + noise * torch.eye(len(mean), dtype=mean.dtype)

    def component(self, x: Tensor, t: Tensor) -> Tensor:
        """The component that most likely made each x (b, *d) at t, (b,) int64."""
        return self._components(x.double(), t).log_joint.argmax(1)

    def _denoise(self, x: Tensor, c: Components) -> Tensor:
        r, (g0, g) = c.responsibilities, c.gains
        along = (r[..., None] * ((g - g0[..., None]) * c.a)).flatten(1)
        return (r * g0).sum(1, keepdim=True) * x + torch.cat([along, r * (1 - c.alpha * g0)], 1) @ c.p.basis.T

    def _components(self, x: Tensor, t: Tensor) -> Components:
        flat, p = x.flatten(1), self._parameters(x)
        alpha, variance = (c.to(x).reshape(-1, 1) for c in (self.process.alpha(t), self.process.sigma(t) ** 2))
        v0 = alpha**2 * p.variances + variance
        v = v0[..., None] + alpha[..., None] ** 2 * p.extra
        along = flat @ p.basis
        along_axes, along_means = along[:, : p.extra.numel()], along[:, p.extra.numel() :]
        a = along_axes.reshape(len(x), *p.extra.shape) - alpha[..., None] * p.centres
        distance = (flat**2).sum(1, keepdim=True) - 2 * alpha * along_means + alpha**2 * p.square_means
        mahalanobis = distance / v0 + (a**2 * (1 / v - 1 / v0[..., None])).sum(-1)
        d, rank = flat.shape[1], p.extra.shape[1]
        log_volume = torch.log(v).sum(-1) + (d - rank) * torch.log(v0) + d * math.log(2 * math.pi)
        return Components(p, p.log_weights - 0.5 * (mahalanobis + log_volume), a, along_means, alpha, v0, v)

    def _parameters(self, x: Tensor) -> Parameters:
        key = (x.dtype, x.device)
        if key not in self._cache:
            basis = torch.cat([self.axes.permute(1, 0, 2).flatten(1), self.means.T], 1)
            centres = torch.einsum("kd,kdr->kr", self.means, self.axes)
            square_means = (self.means**2).sum(1)
            tensors = (self.weights.log(), basis, self.deviations**2, self.extra, centres, square_means)
            self._cache[key] = Parameters(*(tensor.to(x).contiguous() for tensor in tensors))
        return self._cache[key]


def gmm(process: Process) -> Mixture:
    """`exact:gmm`: five components in the plane, of unequal weight and width on an uneven ring; nothing is symmetric."""
    angles = torch.tensor([0.2, 1.3, 2.9, 4.1, 5.3], dtype=torch.float64)
    radii = torch.tensor([0.9, 0.7, 1.0, 0.6, 0.95], dtype=torch.float64)
    means = radii[:, None] * torch.stack([torch.cos(angles), torch.sin(angles)], 1)
    weights = torch.tensor([0.3, 0.15, 0.25, 0.1, 0.2], dtype=torch.float64)
    return Mixture(process, weights, means, torch.tensor([0.1, 0.2, 0.15, 0.12, 0.25], dtype=torch.float64))


def empirical_digits(process: Process) -> Mixture:
    """`exact:empirical-digits`: the 1,000 training digits themselves as data, so D is the memorising optimum."""
    return finite(process, DIGITS.dequantise(DIGITS.levels("train").double()))


def finite(process: Process, images: Tensor) -> Mixture:
    """A finite data set (n, *shape), float64: D is the mean of the images, each weighed by how likely x comes from it."""
    ones = images.new_ones(len(images))
    return Mixture(process, ones / len(images), images.flatten(1), 0 * ones, shape=tuple(images.shape[1:]))

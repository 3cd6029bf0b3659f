"""A wrong score, by a known amount: an exact model whose noise prediction carries a smooth, seeded error.

    exact:gmm?score_error=0.1      ε̂ = ε + 0.1 ρ(t) n(x, t): relative size 0.1 at every t
    exact:gmm?score_bias=0.1       ε̂ = ε + 0.1 ρ(t) b: the same direction everywhere

ρ(t) is the root mean square per dimension of the exact ε under p_t; n is a random field, a sum of cosines of
x/√(α² + σ²) and λ, scaled to unit root mean square under p_t, and b one fixed direction. The density, the samples and
log p stay the exact model's: what a sampler makes of the wrong score is compared with the truth.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .model import ExactModel, KnownMoments
from .parameterisation import broadcast

WAVES = 64  # cosines in the field
LEVELS, DRAWS = 48, 512  # where and with how many exact draws the sizes are measured
FREQUENCY = 1.0  # of the field in λ; in x the phases of neighbouring samples differ by about one


@dataclass(frozen=True)
class Field:
    """n(x, λ) = √(2/m) Σ_j B_j cos(A_j·x + ω_j λ + φ_j), one wave per row of A (m, d) and of B (m, d)."""

    a: Tensor
    b: Tensor
    omega: Tensor
    phase: Tensor
    bias: Tensor  # (d,), unit root mean square

    @classmethod
    def draw(cls, d: int, seed: int) -> "Field":
        g = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=g, dtype=torch.float64)

        bias = normal(d)
        return cls(
            normal(WAVES, d) / math.sqrt(d),
            normal(WAVES, d),
            FREQUENCY * normal(WAVES),
            2 * math.pi * torch.rand(WAVES, generator=g, dtype=torch.float64),
            bias / bias.pow(2).mean().sqrt(),
        )

    def value(self, x: Tensor, lam: Tensor) -> Tensor:
        """n (b, d) for x (b, d) and λ () or (b,)."""
        return math.sqrt(2 / WAVES) * torch.cos(self._angle(x, lam)) @ self.b.to(x)

    def trace(self, x: Tensor, lam: Tensor) -> Tensor:
        """tr ∂n/∂x (b,)."""
        return -math.sqrt(2 / WAVES) * torch.sin(self._angle(x, lam)) @ (self.a * self.b).sum(1).to(x)

    def _angle(self, x: Tensor, lam: Tensor) -> Tensor:
        shift = lam.reshape(-1, 1) * self.omega + self.phase  # (1 or b, m)
        return x @ self.a.to(x).T + shift.to(x)


@dataclass(frozen=True)
class Sizes:
    """Levels λ (k,), evenly spaced over the process, and at each the root mean squares of ε and of the field (k,)."""

    lam: Tensor
    eps: Tensor
    field: Tensor


class WrongScore:
    """An exact model with the error of its score under control."""

    exact = True

    def __init__(self, model: ExactModel, score_error: float = 0.0, score_bias: float = 0.0, seed: int = 0) -> None:
        self.model, self.score_error, self.score_bias = model, score_error, score_bias
        self.name, self.process, self.shape, self.data = model.name, model.process, model.shape, model.data
        self.parameters = torch.tensor([score_error, score_bias, float(seed)], dtype=torch.float64)  # for the digest
        self.field = Field.draw(math.prod(model.shape), seed)
        self.inner = _flatten_tensors(model)

    @cached_property
    def sizes(self) -> Sizes:
        """Measured when first needed, which takes seconds at image scale: a suite is planned without.

        In a thread of its own, so that no transform or mode at work in this one, as vmap, takes part.
        """
        with ThreadPoolExecutor(1) as alone:
            return alone.submit(_sizes, self.model, self.field).result()

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        """D − (σ/α) ρ (δ n + β b), for x (b, *d)."""
        scale, lam, flat, shrink = self._at(x, t)
        unit = broadcast(self.score_error / self._between(self.sizes.field, lam), flat)
        error = unit * self.field.value(flat * shrink, lam) + self.score_bias * self.field.bias.to(x)
        return self.model.denoise(x, t) - (scale * error).reshape(x.shape)

    def denoise_trace(self, x: Tensor, t: Tensor) -> Tensor:
        """tr ∂D/∂x of the wrong denoiser (b,)."""
        scale, lam, flat, shrink = self._at(x, t)
        unit = (self.score_error / self._between(self.sizes.field, lam)).to(x)
        wrong = unit * self.field.trace(flat * shrink, lam)
        return self.model.denoise_trace(x, t) - (scale * shrink).reshape(-1) * wrong

    def log_prob(self, x: Tensor, t: Tensor) -> Tensor:
        """The exact model's log p_t(x) in nats (b,)."""
        return self.model.log_prob(x, t)

    def moments(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The exact model's mean and covariance of p_t."""
        assert isinstance(self.model, KnownMoments)
        return self.model.moments(t)

    def samples(self, n: int, generator: torch.Generator) -> Tensor:
        return self.model.samples(n, generator)

    def _at(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(σ/α)ρ and 1/√(α² + σ²), each () or (b, 1), with λ and the flattened x."""
        p, flat = self.process, x.flatten(1)
        lam = p.lam(t)
        scale = broadcast(p.sigma_hat(t) * self._between(self.sizes.eps, lam), flat)
        return scale, lam, flat, broadcast(torch.rsqrt(p.alpha(t) ** 2 + p.sigma(t) ** 2), flat)

    def _between(self, sizes: Tensor, lam: Tensor) -> Tensor:
        """A size at λ, by a smooth cubic (Catmull & Rom's) through the levels where it was measured."""
        levels = self.sizes.lam
        step, last = levels[1] - levels[0], len(levels) - 1
        place = ((lam - levels[0]) / step).clamp(0, last)
        left = place.long().clamp(max=last - 1)
        s = place - left
        p0, p1, p2, p3 = (sizes[(left + k).clamp(0, last)] for k in (-1, 0, 1, 2))
        return p1 + 0.5 * s * (p2 - p0 + s * (2 * p0 - 5 * p1 + 4 * p2 - p3 + s * (3 * (p1 - p2) + p3 - p0)))


def _sizes(model: ExactModel, field: Field) -> Sizes:
    p = model.process
    ends = torch.tensor([p.t_max, min(p.t_min, p.t_min_likelihood)], dtype=torch.float64)
    low, high = p.lam(ends).tolist()
    lam = torch.linspace(low, high, LEVELS, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    x0 = model.samples(DRAWS, generator)
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    sizes, spreads = [], []
    for level, t in zip(lam, p.t_of_lam(lam), strict=True):
        alpha, sigma = p.alpha(t), p.sigma(t)
        x = alpha * x0 + sigma * noise
        sizes.append(((x - alpha * model.denoise(x, t)) / sigma).pow(2).mean().sqrt())
        spreads.append(field.value(x.flatten(1) * torch.rsqrt(alpha**2 + sigma**2), level).pow(2).mean().sqrt())
    return Sizes(lam, torch.stack(sizes), torch.stack(spreads))


def _flatten_tensors(model: ExactModel) -> Tensor:
    """The exact model's tensors in one, so that the digest of the wrong score holds them too."""
    parts = [value.double().flatten() for _, value in sorted(vars(model).items()) if isinstance(value, Tensor)]
    return torch.cat(parts)

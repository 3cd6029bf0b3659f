"""The variance-preserving process of a table of β (DDPM, latent diffusion): t is the integer step, λ linear between steps."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .process import Process

LOWEST = -12.0  # λ of the noisiest step that is used: a table that ends in pure noise has −∞ there


@dataclass(frozen=True)
class DiscreteVP(Process):
    """α² = Π(1 − β) at the steps 0…N−1; between them λ is interpolated linearly, as published samplers do.

    Its ends are those of the table: t runs over [0, N − 1] without steps whose λ is below −12.
    """

    name: ClassVar[str] = "vp-discrete"
    t_min: float = 0.0
    t_max: float = 999.0
    t_min_likelihood: float = 0.0
    table: tuple[float, ...] = ()  # λ at the steps

    @classmethod
    def of(cls, cumulative: Tensor) -> "DiscreteVP":
        """The process of ᾱ (N,), the cumulative product of 1 − β."""
        c = cumulative.double()
        lam = 0.5 * (torch.log(c) - torch.log1p(-c))
        kept = lam[lam > LOWEST]
        return cls(t_max=float(len(kept) - 1), table=tuple(kept.tolist()))

    def lam(self, t: Tensor) -> Tensor:
        left, low, slope = self._segment(t)
        return low + (t - left) * slope

    def t_of_lam(self, lam: Tensor) -> Tensor:
        table = torch.tensor(self.table, dtype=torch.float64)
        left = (torch.searchsorted(-table, -lam.contiguous()) - 1).clamp(0, len(table) - 2)
        return left + (lam - table[left]) / (table[left + 1] - table[left])

    def log_alpha(self, t: Tensor) -> Tensor:
        return -0.5 * softplus(-2 * self.lam(t))  # α² = 1 / (1 + e^{−2λ})

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(torch.sigmoid(-2 * self.lam(t)))

    def f(self, t: Tensor) -> Tensor:
        return self._segment(t)[2] * self.sigma(t) ** 2  # d log α / dλ = σ²

    def g2(self, t: Tensor) -> Tensor:
        return -2 * self._segment(t)[2] * self.sigma(t) ** 2  # dλ/dt = −g²/2σ²

    @property
    def prior_std(self) -> float:
        return 1.0

    def _segment(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The step at or before t, λ there, and the slope of λ to the next."""
        table = torch.tensor(self.table, dtype=torch.float64)
        left = torch.floor(t).long().clamp(0, len(table) - 2)
        return left, table[left], table[left + 1] - table[left]

"""Forward processes: x_t | x_0 ~ N(α(t) x_0, σ(t)² I), the marginals of dx = f(t) x dt + g(t) dw.

Every function takes times as a float64 tensor of any shape and answers in kind. λ = log(α/σ) is the half log-SNR,
strictly decreasing in t; σ̂ = σ/α = exp(−λ) is the "sigma" of EDM and k-diffusion.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .errors import unknown

Scalars = Callable[["Process", Tensor], tuple[Tensor, ...]]
KEPT = 8192  # times of a process whose scalars are kept


@dataclass(frozen=True)
class Process(ABC):
    """One forward process with the interval of t on which it is used (t_min_likelihood: the lower end for log p)."""

    name: ClassVar[str]
    signal_form: ClassVar[bool] = False  # whether α vanishes at t_max, so that log p is taken in signal form
    t_min: float
    t_max: float
    t_min_likelihood: float

    @abstractmethod
    def log_alpha(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def f(self, t: Tensor) -> Tensor:
        """Drift coefficient f = d log α / dt."""

    @abstractmethod
    def g2(self, t: Tensor) -> Tensor:
        """Squared diffusion coefficient g² = dσ²/dt − 2fσ²."""

    @abstractmethod
    def t_of_lam(self, lam: Tensor) -> Tensor:
        """Inverse of λ(t), in closed form."""

    @property
    @abstractmethod
    def prior_std(self) -> float:
        """Standard deviation of the Gaussian from which sampling starts at t_max."""

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(self.log_alpha(t))

    def lam(self, t: Tensor) -> Tensor:
        return self.log_alpha(t) - torch.log(self.sigma(t))

    def at(self, t: float, scalars: Scalars) -> tuple[float, ...]:
        """What the function gives at one time t, as host numbers; kept, as solvers ask at the same times for every batch."""
        key, kept = (scalars, t), self._kept
        if key not in kept:
            if len(kept) >= KEPT:
                kept.clear()
            kept[key] = tuple(float(value) for value in scalars(self, torch.tensor(t, dtype=torch.float64)))
        return kept[key]

    def time(self, t: float) -> Tensor:
        """t () float64 as models take it; kept, and never written to, in inference mode, where no transform wraps it."""
        found = self._times.get(t)
        if found is None:
            keep = torch.is_inference_mode_enabled()
            with torch.inference_mode(False):  # so that it serves gradients too
                found = torch.tensor(t, dtype=torch.float64)
            if keep:
                if len(self._times) >= KEPT:
                    self._times.clear()
                self._times[t] = found
        return found

    @cached_property
    def _times(self) -> dict[float, Tensor]:
        return {}

    @cached_property
    def _kept(self) -> dict[tuple[Scalars, float], tuple[float, ...]]:
        return {}

    @property
    def t_trained(self) -> float:
        """The lower end of the interval that a network is trained on: sampling's and likelihood's both."""
        return min(self.t_min, self.t_min_likelihood)

    def sigma_hat(self, t: Tensor) -> Tensor:
        return self.sigma(t) / self.alpha(t)

    def t_of_sigma_hat(self, sigma_hat: Tensor) -> Tensor:
        return self.t_of_lam(-torch.log(sigma_hat))


@dataclass(frozen=True)
class VP(Process):
    """Variance preserving with linear β(t) = β₀ + t (β₁ − β₀); Song et al. 2021, arXiv:2011.13456, eq. 32."""

    name: ClassVar[str] = "vp"
    t_min: float = 1e-3
    t_max: float = 1.0
    t_min_likelihood: float = 1e-5
    beta_min: float = 0.1
    beta_max: float = 20.0

    def beta(self, t: Tensor) -> Tensor:
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def log_alpha(self, t: Tensor) -> Tensor:
        return -0.25 * t * t * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(2 * self.log_alpha(t)))

    def f(self, t: Tensor) -> Tensor:
        return -0.5 * self.beta(t)

    def g2(self, t: Tensor) -> Tensor:
        return self.beta(t)

    def t_of_lam(self, lam: Tensor) -> Tensor:
        return self._t_of_log_alpha(-0.5 * softplus(-2 * lam))  # α² = 1 / (1 + e^{−2λ})

    def _t_of_log_alpha(self, log_alpha: Tensor) -> Tensor:
        """Positive root of ¼ (β₁ − β₀) t² + ½ β₀ t + log α = 0, in the form that does not cancel."""
        b, c = self.beta_min, -4 * log_alpha
        return c / (b + torch.sqrt(b * b + (self.beta_max - self.beta_min) * c))

    @property
    def prior_std(self) -> float:
        return 1.0


@dataclass(frozen=True)
class SubVP(VP):
    """Sub-variance-preserving: α of VP, σ = 1 − α²; Song et al. 2021, arXiv:2011.13456, eq. 34."""

    name: ClassVar[str] = "subvp"
    t_min_likelihood: float = 6.2e-3  # σ = 1e-3 here; at 1e-5 it would be 1e-6, below float32 pixels

    def sigma(self, t: Tensor) -> Tensor:
        return -torch.expm1(2 * self.log_alpha(t))

    def g2(self, t: Tensor) -> Tensor:
        return self.beta(t) * -torch.expm1(4 * self.log_alpha(t))

    def t_of_lam(self, lam: Tensor) -> Tensor:
        return self._t_of_log_alpha(-torch.asinh(0.5 * torch.exp(-lam)))  # 1/α − α = e^{−λ}


@dataclass(frozen=True)
class VE(Process):
    """Variance exploding, σ = σ_min (σ_max/σ_min)^t; Song et al. 2021, arXiv:2011.13456, eq. 31."""

    name: ClassVar[str] = "ve"
    t_min: float = 1e-5
    t_max: float = 1.0
    t_min_likelihood: float = 1e-5
    sigma_min: float = 0.01
    sigma_max: float = 50.0

    @property
    def log_ratio(self) -> Tensor:
        return torch.log(torch.tensor(self.sigma_max / self.sigma_min, dtype=torch.float64))

    def log_alpha(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min * torch.exp(t * self.log_ratio)

    def f(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def g2(self, t: Tensor) -> Tensor:
        return 2 * self.log_ratio * self.sigma(t) ** 2

    def t_of_lam(self, lam: Tensor) -> Tensor:
        return (-lam - torch.log(torch.tensor(self.sigma_min, dtype=torch.float64))) / self.log_ratio

    @property
    def prior_std(self) -> float:
        return self.sigma_max


@dataclass(frozen=True)
class EDM(Process):
    """σ(t) = t, α = 1; Karras et al. 2022, arXiv:2206.00364, table 1."""

    name: ClassVar[str] = "edm"
    t_min: float = 0.002
    t_max: float = 80.0
    t_min_likelihood: float = 0.002

    def log_alpha(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def f(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def g2(self, t: Tensor) -> Tensor:
        return 2 * t

    def t_of_lam(self, lam: Tensor) -> Tensor:
        return torch.exp(-lam)

    @property
    def prior_std(self) -> float:
        return self.t_max


@dataclass(frozen=True)
class Flow(Process):
    """Rectified flow, α = 1 − t, σ = t; Liu et al. 2023, arXiv:2209.03003.

    λ is infinite at both ends, so t is clipped to [t_min, t_max] = [1e-3, 1 − 1e-3]; the prior N(0, I) is then met
    at t_max with an error of order 1e-3.
    """

    name: ClassVar[str] = "flow"
    signal_form: ClassVar[bool] = True
    t_min: float = 1e-3
    t_max: float = 1 - 1e-3
    t_min_likelihood: float = 1e-3

    def log_alpha(self, t: Tensor) -> Tensor:
        return torch.log1p(-t)

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def f(self, t: Tensor) -> Tensor:
        return -1 / (1 - t)

    def g2(self, t: Tensor) -> Tensor:
        return 2 * t / (1 - t)

    def t_of_lam(self, lam: Tensor) -> Tensor:
        return torch.sigmoid(-lam)

    @property
    def prior_std(self) -> float:
        return 1.0


PROCESSES: dict[str, type[Process]] = {p.name: p for p in (VP, SubVP, VE, EDM, Flow)}


def make_process(name: str, **parameters: float) -> Process:
    """The process of that name with some of its parameters replaced; ValueError names the nearest valid choice."""
    if name not in PROCESSES:
        raise unknown("process", name, PROCESSES)
    process = PROCESSES[name]()  # type: ignore[call-arg]
    known = [field.name for field in fields(process)]
    for key in parameters:
        if key not in known:
            raise unknown(f"parameter of process {name}", key, known)
    return replace(process, **parameters)

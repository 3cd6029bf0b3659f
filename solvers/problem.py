"""The reverse-time problem that a solver is given: a denoiser and its process, the noise of the batch, and a counter."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from scorebench.reference_models.model import Model
from scorebench.reference_models.parameterisation import broadcast
from scorebench.reference_models.process import Process, Scalars

from .noise import Noise
from .update import combine


@dataclass
class Count:
    """What was spent: network evaluations of each sample (b,), batched calls, and Jacobian products of each sample."""

    alone: Tensor  # evaluations of samples by themselves (b,), int64
    calls: int = 0
    vjps: int = 0
    jvps: int = 0
    together: int = 0  # evaluations that every sample shares in

    @property
    def evaluations(self) -> Tensor:
        return self.alone + self.together


@dataclass
class Problem:
    """dx = [f x − ½(1+η²) g² s(x, t)] dt + η g dw̄ for one batch; η is the method's own option.

    `start` holds (t, x) pairs on the exact trajectory before grid[0], the latest last: a multistep method begins
    with them instead of with lower orders.
    """

    model: Model
    count: Count
    noise: Noise | None = None
    start: tuple[tuple[float, Tensor], ...] = ()
    rows: Tensor | None = field(default=None, repr=False)  # rows (k,) of the counted batch that x stands for; None: all

    @classmethod
    def of(cls, model: Model, size: int, noise: Noise | None = None) -> "Problem":
        return cls(model, Count(torch.zeros(size, dtype=torch.int64)), noise)

    @property
    def process(self) -> Process:
        return self.model.process

    def __getitem__(self, rows: Tensor) -> "Problem":
        """The same problem for some rows (k,) of the batch; evaluations are counted for those rows."""
        noise = None if self.noise is None else self.noise[rows]
        return type(self)(self.model, self.count, noise, (), rows if self.rows is None else self.rows[rows])

    def increment(self, s_from: float, s_to: float) -> Tensor:
        """Standard normal (b, *d) from the Brownian path between two values of the method's clock."""
        return self._noise.increment(s_from, s_to)

    def increments(self, s_from: Tensor, s_to: Tensor) -> Tensor:
        """The same between values (b,) of each sample's own, float64."""
        return self._noise.increments(s_from, s_to)

    def independent(self, position: int) -> Tensor:
        """Standard normal (b, *d), independent for every position."""
        return self._noise.independent(position)

    @property
    def _noise(self) -> Noise:
        if self.noise is None:
            raise ValueError("a stochastic solver needs noise: pass noise=Noise(seed, indices, shape)")
        return self.noise

    def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
        """D(x, t): one network call. x (b, *d); t a host number or (b,), float64."""
        self.spend()
        return self.model.denoise(x, t if isinstance(t, Tensor) else self.process.time(t))

    def spend(self) -> None:
        """Count one network call of these rows."""
        count, each = self.count, getattr(self.model, "evaluations_per_call", 1)
        count.calls += 1
        if self.rows is None:
            count.together += each
        else:
            count.alone[self.rows] += each

    def eps(self, x: Tensor, t: float | Tensor) -> Tensor:
        """ε(x, t) = (x − αD)/σ: one network call."""
        return self._mixed(of_eps, x, t)

    def score(self, x: Tensor, t: float | Tensor) -> Tensor:
        """s(x, t) = (αD − x)/σ²: one network call."""
        return self._mixed(of_score, x, t)

    def velocity(self, x: Tensor, t: float | Tensor) -> Tensor:
        """dx/dt = f x − ½ g² s of the probability-flow ODE: one network call."""
        return self._mixed(of_velocity, x, t)

    def _mixed(self, scalars: Scalars, x: Tensor, t: float | Tensor) -> Tensor:
        """a x + b D(x, t) with the scalars a, b at t."""
        if isinstance(t, Tensor) and t.ndim:
            a, b = scalars(self.process, t)
            return broadcast(a, x) * x + broadcast(b, x) * self.denoise(x, t)
        model, time = self.model, float(t)
        kept, moved = model.process.at(time, scalars)
        mix = getattr(model, "mix", None)
        if mix is None or type(self).denoise is not Problem.denoise:  # a problem that watches denoise sees every call
            return combine((kept, x), (moved, self.denoise(x, t)))
        self.spend()
        mixed: Tensor = mix(x, time, kept, moved)
        return mixed


def of_eps(p: Process, t: Tensor) -> tuple[Tensor, Tensor]:
    alpha, sigma = p.alpha(t), p.sigma(t)
    return 1 / sigma, -alpha / sigma


def of_score(p: Process, t: Tensor) -> tuple[Tensor, Tensor]:
    alpha, variance = p.alpha(t), p.sigma(t) ** 2
    return -1 / variance, alpha / variance


def of_velocity(p: Process, t: Tensor) -> tuple[Tensor, Tensor]:
    half = 0.5 * p.g2(t) / p.sigma(t) ** 2
    return p.f(t) + half, -half * p.alpha(t)

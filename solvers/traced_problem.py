"""Problems whose denoiser also gives the trace of its Jacobian: at the accepted points, or as a column of the state."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scorebench.reference_models.model import ExactModel, Model
from scorebench.reference_models.parameterisation import broadcast

from .facts import Step
from .problem import Problem
from .trace import Trace


@dataclass
class TracedProblem(Problem):
    """A problem that estimates tr(∂D/∂x) with the network call made where a fixed-step method stands at a grid time."""

    trace: Trace = Trace("closed")  # noqa: RUF009  (frozen)
    probes: Tensor | None = None  # (m, b, *d), in the state's dtype
    products: Tensor | None = None  # Jacobian products of each sample of the counted batch (b,), int64
    awaited: Step | None = field(default=None, repr=False)  # the accepted point whose network call has not been seen
    predicted: set[float] = field(default_factory=set, repr=False)  # times whose call is made at a predicted point
    seen: list[tuple[float, Tensor]] = field(default_factory=list, repr=False)  # (t, tr ∂D/∂x (b,)) at those points

    def __getitem__(self, rows: Tensor) -> "TracedProblem":
        part = super().__getitem__(rows)
        assert isinstance(part, TracedProblem)
        part.trace, part.products = self.trace, self.products
        part.probes = None if self.probes is None else self.probes[:, rows]
        return part

    def traced(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """D (b, *d) and the estimate of tr ∂D/∂x (b,), float64 on the host, from one network call."""
        t = torch.as_tensor(t, dtype=torch.float64)
        if self.trace.kind == "closed":
            assert isinstance(self.model, ExactModel)
            return super().denoise(x, t), self.model.denoise_trace(x, t).double().cpu()
        d, trace = self.trace(lambda at: self.model.denoise(at, t), x, self.probes, self.spend)
        spent = self.trace.products(math.prod(self.model.shape))
        self.count.vjps += spent if self.trace.mode == "reverse" else 0
        self.count.jvps += spent if self.trace.mode == "forward" else 0
        if self.products is not None:
            self.products[slice(None) if self.rows is None else self.rows] += spent
        return d, trace.double().cpu()

    def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
        if self.predicted:
            wanted = float(t) in self.predicted
        else:
            wanted = self.awaited is not None and x is self.awaited[1] and bool(t == self.awaited[0])
        if not wanted:
            return super().denoise(x, t)
        d, trace = self.traced(x, t)
        self.seen.append((float(t), trace))
        self.predicted.discard(float(t))
        self.awaited = None
        return d


class AugmentedProblem(TracedProblem):
    """The state (b, d + 1): x flattened, and the running integral c of the likelihood's integrand q along −λ.

    The column's D is the one of which the probability-flow ODE makes dc/dt = −q dλ/dt, so that a method in D, ε, the score
    or the velocity carries the integral as it carries x.
    """

    def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
        at, p = x[:, :-1].reshape(-1, *self.model.shape), self.process
        t = torch.as_tensor(t, dtype=torch.float64)
        d, trace = self.traced(at, t)
        keep = broadcast(1 + 2 * p.sigma(t) ** 2 * p.f(t) / p.g2(t), x)  # −d log σ/dλ
        q = integrand(self.model, t, trace).to(x)[:, None]
        return torch.cat([d.flatten(1), (keep * x[:, -1:] - q) / broadcast(p.alpha(t), x)], 1)


def integrand(model: Model, t: Tensor, trace: Tensor) -> Tensor:
    """What is integrated over λ: q = d − α tr(∂D/∂x), or −α tr(∂D/∂x) for processes whose α vanishes; t () or (b,)."""
    d = 0 if model.process.signal_form else math.prod(model.shape)
    return d - model.process.alpha(t) * trace

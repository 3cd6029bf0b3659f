"""Estimators of tr(∂D/∂x), each from the same network call that gives D.

closed      the model's own formula
exact       the d rows of the Jacobian J = ∂D/∂x
rademacher  Hutchinson 1990, doi:10.1080/03610919008812866: the mean of zᵀJz over k probes z of random signs
gaussian    the same with standard normal probes
hutch++     Meyer et al. 2021, arXiv:2010.09649, Alg. 1: a third of the k products finds where J is large, a third takes the
            trace there exactly, and a third is Hutchinson's on what is left

A product is zᵀJ, in reverse mode (vector–Jacobian), or Jz, in forward mode (Jacobian–vector). tr J = tr Jᵀ, so that
every estimator needs only the one or only the other. Probes belong to the sample: they are a function of (seed, index),
and so the same for all solvers, steps and batches.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError, unknown
from scorebench.reference_models.model import Model

from .noise import PROBE, normals
from .philox import words

Kind = Literal["closed", "exact", "rademacher", "gaussian", "hutch++"]
Mode = Literal["reverse", "forward"]
Denoise = Callable[[Tensor], Tensor]
Products = Callable[[Tensor], Tensor]  # (m, b, *d) to (m, b, *d)
MEMORY = 2**29  # bytes that the products computed at once may hold
ROWS = 64  # rows of the Jacobian that are asked for at once


@dataclass(frozen=True)
class Trace:
    """Which estimator, with how many probes (hutch++: products) of which seed, by which mode of differentiation."""

    kind: Kind = "rademacher"
    probes: int = 1
    seed: int = 0
    mode: Mode = "reverse"

    def __post_init__(self) -> None:
        for what, value, choices in (("trace", self.kind, Kind), ("mode", self.mode, Mode)):
            if value not in get_args(choices):
                raise unknown(what, value, get_args(choices))
        if self.probes < 1:
            raise UsageError(f"trace {self.kind} needs at least 1 probe, got {self.probes}")
        if self.kind == "hutch++" and self.probes % 3:
            raise UsageError(f"trace hutch++ takes a multiple of 3 products, got {self.probes}: a third for each part")

    def products(self, d: int) -> int:
        """Jacobian products of each sample in one call, in d dimensions."""
        return {"closed": 0, "exact": d}.get(self.kind, self.probes)

    def vectors(self, indices: Tensor, shape: tuple[int, ...]) -> Tensor | None:
        """The probes (m, b, *shape) of these samples (b,), float64; None for the kinds that draw none."""
        if self.kind in ("closed", "exact"):
            return None
        drawn = 2 * self.probes // 3 if self.kind == "hutch++" else self.probes
        count, places = int(torch.tensor(shape).prod()), torch.arange(drawn)
        if self.kind == "gaussian":
            z = normals(self.seed, indices, count, PROBE, places)
        else:
            z = 2.0 * (words(self.seed, indices, count, PROBE, places) & 1).double() - 1.0
        return z.reshape(drawn, len(indices), *shape)

    def __call__(
        self, denoise: Denoise, x: Tensor, vectors: Tensor | None, spend: Callable[[], None] = lambda: None
    ) -> tuple[Tensor, Tensor]:
        """D (b, *d) and the estimate of tr ∂D/∂x (b,) at x (b, *d), with the probes (m, b, *d), in x's dtype.

        `spend` is told of each network call.
        """
        products = (Reverse if self.mode == "reverse" else Forward)(denoise, x, spend)
        if vectors is None:
            estimate = exact(products, x)
        else:
            estimate = (hutch_plus_plus if self.kind == "hutch++" else hutchinson)(products, vectors)
        assert products.d is not None
        return products.d, estimate


class Reverse:
    """D, and z to zᵀJ: one backward pass a product, as many at once as MEMORY holds of what the forward pass kept."""

    def __init__(self, denoise: Denoise, x: Tensor, spend: Callable[[], None]) -> None:
        kept = [0]

        def weigh(tensor: Tensor) -> Tensor:  # detached and no method of self: a cycle through the graph is never freed
            kept[0] += 0 if tensor.is_leaf else tensor.nbytes
            return tensor.detach()

        spend()
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
            self.x = x.detach().requires_grad_()
            self.graph = denoise(self.x)
        if not self.graph.requires_grad:
            raise UsageError("the model has no differentiable path from x to D(x, t): its trace cannot be found")
        self.d, self.kept = self.graph.detach(), kept[0]

    def __call__(self, z: Tensor) -> Tensor:
        if len(z) == 1:
            return self._product(z[0])[None]
        return torch.func.vmap(self._product, chunk_size=max(1, MEMORY // max(self.kept, 1)))(z)

    def _product(self, z: Tensor) -> Tensor:
        (zj,) = torch.autograd.grad(self.graph, self.x, z, retain_graph=True)
        return zj


class Forward:
    """z to Jz, and D: each batch of products makes the network call anew, and is counted so."""

    def __init__(self, denoise: Denoise, x: Tensor, spend: Callable[[], None]) -> None:
        self.denoise, self.x, self.spend = denoise, x.detach(), spend
        self.d: Tensor | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """UsageError where the model has no forward derivative (the attention of most networks has none)."""

        def product(v: Tensor) -> tuple[Tensor, Tensor]:
            value, tangent = torch.func.jvp(self.denoise, (self.x,), (v,))[:2]
            return value, tangent

        self.spend()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, when it first loads its formulas
                self.d, jz = torch.func.vmap(product, out_dims=(None, 0))(z)  # type: ignore[arg-type]
        except (NotImplementedError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            if not any(word in reason for word in ("forward", "vmap", "jvp")):
                raise  # memory that ran out, or a bug of the model's own
            raise UsageError(f"the model has no forward-mode derivative, use mode reverse: {reason}") from None
        return jz


def exact(products: Products, x: Tensor) -> Tensor:
    """Σ_i (e_iᵀJ)_i over the rows of the identity, ROWS at once."""
    d, total = x[0].numel(), torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for rows in torch.arange(d, device=x.device).split(ROWS):
        unit = torch.zeros(len(rows), d, dtype=x.dtype, device=x.device)
        unit[range(len(rows)), rows] = 1.0
        z = unit[:, None].expand(-1, len(x), -1).reshape(len(rows), *x.shape)
        total += (products(z).flatten(2) * unit[:, None]).sum((0, 2))
    return total


def hutchinson(products: Products, z: Tensor) -> Tensor:
    """The mean of zᵀJz over the probes z (m, b, *d)."""
    return (products(z) * z).flatten(2).sum(2).mean(0)


def hutch_plus_plus(products: Products, z: Tensor) -> Tensor:
    """tr QᵀAQ + tr G'ᵀAG'/m with Q an orthonormal basis of AS and G' = (I − QQᵀ)G; S and G are the halves of z (2m, b, *d)."""
    s, g = z.chunk(2)

    def across(flat: Tensor) -> Tensor:  # (b, d, m) of (m, b, *d), the columns of each sample's matrix
        return flat.flatten(2).permute(1, 2, 0)

    def apply(columns: Tensor) -> Tensor:
        return across(products(columns.permute(2, 0, 1).reshape(s.shape)))

    q, _ = torch.linalg.qr(across(products(s)))
    rest = across(g) - q @ (q.mT @ across(g))
    trace: Tensor = (q * apply(q)).sum((1, 2)) + (rest * apply(rest)).sum((1, 2)) / len(g)
    return trace


def check_differentiable(model: Model, tolerance: float = 0.1) -> None:
    """UsageError unless a product zᵀJz by reverse mode agrees with differences of D, on two samples half-way.

    Half-way in λ the noise is as large as the data. A model that cuts its graph gives a derivative without complaint,
    and a likelihood that is wrong.
    """
    p = model.process
    ends = p.lam(torch.tensor([p.t_min, p.t_max], dtype=torch.float64))
    t = p.t_of_lam(ends.clamp(-20, 20).mean())
    generator = torch.Generator().manual_seed(0)
    scale = float(torch.sqrt(p.alpha(t) ** 2 + p.sigma(t) ** 2))
    x = scale * torch.randn(2, *model.shape, generator=generator)
    z = torch.randn(2, *model.shape, generator=generator)
    try:
        products = Reverse(lambda at: model.denoise(at, t), x, lambda: None)
        found = float((products(z[None])[0] * z).sum())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise UsageError(f"model {model.name!r} has no differentiable path from x to D(x, t): {reason}") from None
    except UsageError as error:
        raise UsageError(f"model {model.name!r}: {error}") from None
    h = 1e-2 * scale
    with torch.no_grad():
        slope = (model.denoise(x + h * z, t) - model.denoise(x - h * z, t)) / (2 * h)
    expected = float((slope * z).sum())
    if abs(found - expected) > tolerance * float(slope.norm() * z.norm()):
        raise UsageError(
            f"model {model.name!r} has no differentiable path from x to D(x, t): its derivative along a probe is {found:.3g} "
            f"by autograd and {expected:.3g} by differences"
        )

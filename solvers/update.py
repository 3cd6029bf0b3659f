"""The update every fixed-step method is made of: a linear combination of tensors with host coefficients."""

import torch
from torch import Tensor

from . import fused

Term = tuple[float, Tensor]


def combine(*terms: Term) -> Tensor:
    """Σ c_i · x_i over (c_i, x_i); the c_i are host numbers (float64), so no device waits for one. Zero terms are skipped.

    Tensors of several types are added in the widest of them. Large states take one pass over memory, where that is possible.
    """
    first = terms[0][1]
    for _, x in terms:
        if x.dtype is not first.dtype:
            return combine(*widened(terms))
    if first.numel() >= fused.FEWEST:
        told = [term for term in terms if term[0] != 0.0]
        return fused.combine(told) if told and fused.fits(told) else eager(*terms)
    return eager(*terms)


def eager(*terms: Term) -> Tensor:
    """The same term by term: what the other ways to compute it are compared with."""
    out = None
    for c, x in terms:
        if c == 0.0:
            continue
        if out is None:
            out = torch.mul(x, c)
        else:
            out.add_(x, alpha=c)
    return torch.zeros_like(terms[0][1]) if out is None else out


def widened(terms: tuple[Term, ...]) -> list[Term]:
    dtype = terms[0][1].dtype
    for _, x in terms:
        dtype = torch.promote_types(dtype, x.dtype)
    return [(c, x.to(dtype)) for c, x in terms]

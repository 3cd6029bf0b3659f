"""The update every fixed-step method is made of: a linear combination of tensors with host coefficients."""

import importlib.util
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from . import fused

Term = tuple[float, Tensor]
FEWEST = 2**19  # entries of a state for which one pass over memory is worth its preparation


def combine(*terms: Term) -> Tensor:
    """Σ c_i · x_i over (c_i, x_i); the c_i are host numbers (float64), so no device waits for one. Zero terms are skipped.

    Tensors of several types are added in the widest of them. Large states take one pass over memory, where that is possible.
    """
    first = terms[0][1]
    if first.numel() >= FEWEST:
        told = [term for term in terms if term[0] != 0.0]
        one_pass = kernels() if first.is_cuda else fused
        if told and one_pass is not None and one_pass.fits(told):
            out: Tensor = one_pass.combine(told)
            return out
    return eager(*terms)


def eager(*terms: Term) -> Tensor:
    """The same term by term: what the other ways to compute it are compared with."""
    dtype, out = terms[0][1].dtype, None
    for _, x in terms:
        if x.dtype is not dtype:
            return eager(*widened(terms))
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


@cache
def kernels() -> ModuleType | None:
    """The kernels for CUDA, where Triton is installed and what it compiles for this GPU gives the host's numbers."""
    if importlib.util.find_spec("triton") is None:
        return None
    try:
        from . import device_update

        return device_update if device_update.works() else None
    except Exception:  # a compiler that is missing is said in many ways
        return None

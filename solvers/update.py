"""The update every fixed-step method is made of: a linear combination of tensors with host coefficients."""

from torch import Tensor

Term = tuple[float, Tensor]


def combine(*terms: Term) -> Tensor:
    """Σ c_i · x_i over (c_i, x_i); the c_i are host numbers (float64), so no device waits for one. Zero terms are skipped."""
    (c, x), *rest = [term for term in terms if term[0] != 0.0] or [terms[0]]
    out = c * x
    for c, x in rest:
        out.add_(x, alpha=c)
    return out

"""The integrals that exponential methods are made of: φ functions, and the weights of interpolated histories."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .multistep import lagrange

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
NODES, WEIGHTS = 0.5 * (_NODES + 1), 0.5 * _WEIGHTS  # on [0, 1]; exact to round-off for e^z θ^k with |z| up to 60


def phi(k: int, z: Tensor) -> Tensor:
    """φ_k(z) = ∫₀¹ e^{(1−θ)z} θ^{k−1}/(k−1)! dθ, k ≥ 1, for z of any shape, float64.

    Quadrature of a positive integrand: unlike the recursion φ_{k+1} = (φ_k − 1/k!)/z it cancels nowhere.
    """
    theta = torch.from_numpy(NODES)
    weight = torch.from_numpy(WEIGHTS) * theta ** (k - 1) / math.factorial(k - 1)
    return (torch.exp((1 - theta) * z[..., None]) * weight).sum(-1)


def lagrange_weights(nodes: Sequence[float], low: float, high: float, rate: float) -> list[float]:
    """∫ rate · e^{rate (λ − high)} ℓ_j(λ) dλ from low to high, for Lagrange's polynomials ℓ_j through the nodes."""
    lam = low + (high - low) * NODES
    mass = (high - low) * rate * WEIGHTS * np.exp(rate * (lam - high))
    weights: list[float] = (lagrange(np.asarray(nodes), lam) @ mass).tolist()
    return weights

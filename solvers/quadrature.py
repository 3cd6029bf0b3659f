"""Weights that integrate a smooth function of λ through the nodes of a path."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .multistep import gauss, lagrange

Rule = Literal["spline", "polynomial"]


def weights(s: Tensor, rule: Rule, order: int) -> Tensor:
    """w (n,) with ∫ q ds ≈ w · q over increasing nodes s (n,), float64.

    spline: the cubic spline through all nodes, of order 4 whatever the solver's. polynomial: on each step the polynomial of
    degree `order` through that step's end and the nodes before it, as an Adams–Moulton method of that many steps has it.
    """
    from scipy.interpolate import CubicSpline  # which takes half a second to import

    nodes = s.numpy()
    if rule == "spline":
        return torch.from_numpy(np.asarray(CubicSpline(nodes, np.eye(len(nodes))).integrate(nodes[0], nodes[-1])))
    points, mass = gauss(nodes)
    total, degree = np.zeros(len(nodes)), min(order, len(nodes) - 1)
    for n in range(len(nodes) - 1):
        first = max(0, n + 1 - degree)
        window = slice(first, first + degree + 1)
        total[window] += lagrange(nodes[window], points[n]) @ mass[n]
    return torch.from_numpy(total)

"""Latent codes: a deterministic solver carries data to noise and back, as DDIM's inversion does."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import Model

from .drive import Solution, solve
from .facts import SolverInfo
from .problem import Count


@dataclass(frozen=True)
class RoundTrip:
    """Codes (b, *d) at t_max, what came back (b, *d), its distance (b,), and what both ways spent."""

    codes: Tensor
    back: Tensor
    error: Tensor
    count: Count
    finite: bool


def encode(model: Model, info: SolverInfo, grid: Tensor, x: Tensor, options: dict[str, Any] | None = None) -> Solution:
    """x (b, *d) at grid[0] carried to noise along an increasing grid (n + 1,); UsageError for a stochastic solver."""
    return _carry(model, info, grid, x, options, up=True)


def decode(
    model: Model, info: SolverInfo, grid: Tensor, codes: Tensor, options: dict[str, Any] | None = None
) -> Solution:
    """Codes (b, *d) at grid[0] carried to data along a decreasing grid (n + 1,); UsageError for a stochastic solver."""
    return _carry(model, info, grid, codes, options, up=False)


def round_trip(
    model: Model, info: SolverInfo, grid: Tensor, x: Tensor, options: dict[str, Any] | None = None
) -> RoundTrip:
    """Along an increasing grid (n + 1,) and back on the same times; the error is root mean square per dimension."""
    there = encode(model, info, grid, x, options)
    back = decode(model, info, grid.flip(0), there.x, options)
    error = (back.x - x).double().flatten(1).pow(2).mean(1).sqrt().cpu()
    up, down = there.count, back.count
    count = Count(up.evaluations + down.evaluations, up.calls + down.calls)
    return RoundTrip(there.x, back.x, error, count, there.finite and back.finite)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Spherical interpolation between codes a and b (*d): a at share 0, b at 1, the norm interpolated on the way."""
    na, nb = a.norm(), b.norm()
    angle = torch.arccos(torch.clamp((a / na * (b / nb)).sum(), -1.0, 1.0))
    if float(angle) < 1e-6:
        return a + share * (b - a)
    one, two = torch.sin((1 - share) * angle), torch.sin(share * angle)
    direction: Tensor = (one * a / na + two * b / nb) / torch.sin(angle)
    norm: Tensor = na + share * (nb - na)
    return norm * direction


def _carry(
    model: Model, info: SolverInfo, grid: Tensor, x: Tensor, options: dict[str, Any] | None, up: bool
) -> Solution:
    if info.stochastic(options or {}):
        raise UsageError(f"latent codes need a deterministic solver, got {info.id} with {options or 'its defaults'}")
    steps = torch.diff(grid)
    if not bool((steps > 0).all() if up else (steps < 0).all()):
        raise UsageError(f"to {'encode' if up else 'decode'}, a grid must {'increase' if up else 'decrease'}")
    return solve(model, info, grid, x, options=options)

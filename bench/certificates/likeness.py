"""Which registered methods a sampler equals: the same latents, grid and noise, and the distance of the ends."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS, SolverInfo
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import INDEPENDENT, Noise

from .foreign import foreign
from .trajectory import ends, exact, mixture

STEPS = 12
IDENTITIES = Path(__file__).with_name("identities.toml")
SAME = 1e-5  # relative: several libraries compute a step in float32
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "unipc-1": [{"variant": "bh1"}], "unipc-2": [{"variant": "bh1"}], "unipc-3": [{"variant": "bh1"}],
    "ddim": [{"eta": 1.0}, {"eta": 0.5}],
}  # fmt: skip


@dataclass(frozen=True)
class Likeness:
    """The nearest registered method, its options, and the relative distance of the two ends."""

    id: str
    options: dict[str, Any]
    difference: float

    @property
    def same(self) -> bool:
        return self.difference < SAME

    def text(self) -> str:
        name = " ".join([self.id, *(f"{key}={value}" for key, value in self.options.items())])
        return f"{name} ({self.difference:.0e})"


class Sequenced(Noise):
    """The k-th draw is the k-th normal, whatever clock it is asked by: two libraries' draws pair one by one."""

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__(0, torch.arange(size), shape)
        self.drawn = 0

    def increment(self, s_from: float, s_to: float) -> Tensor:
        self.drawn += 1
        return self._give(self._normals(INDEPENDENT, torch.tensor([self.drawn]))[0])

    def independent(self, position: int) -> Tensor:
        return self.increment(1.0, 2.0)


def end_of(info: SolverInfo, options: dict[str, Any], process: str = "vp", grid: str = "karras") -> Tensor:
    """Where a method ends from a cold start (32, 2)."""
    model = mixture(process)
    p = model.process
    times = make_grid(grid, p, STEPS, *ends(p))
    x = exact(p, float(times[0]))
    with torch.no_grad():
        return solve(model, info, times, x, options=options, noise=Sequenced(len(x), model.shape)).x


def _frozen(options: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(options.items()))


@cache
def _kept_end(id: str, options: tuple[tuple[str, Any], ...]) -> Tensor:
    """`end_of` a registered method: every sampler is compared with it."""
    try:
        return end_of(SOLVERS[id], dict(options))
    except Exception:  # a method that breaks is like none
        return torch.full((1,), torch.nan)


def likenesses(info: SolverInfo, options: dict[str, Any] | None = None) -> list[Likeness]:
    """The registered methods, itself left out, the nearest to this one first."""
    end = end_of(info, options or {})
    stochastic = info.stochastic(options or {})
    found = []
    for other in SOLVERS.values():
        for variant in ({}, *VARIANTS.get(other.id, [])):
            if other.id == info.id or other.adaptive or other.stochastic(variant) != stochastic:
                continue
            difference = float((_kept_end(other.id, _frozen(variant)) - end).norm() / end.norm())
            if difference == difference:
                found.append(Likeness(other.id, variant, difference))
    return sorted(found, key=lambda one: one.difference)


def identities(id: str) -> list[tuple[dict[str, Any], str]]:
    """The maps that a registered method is claimed to equal: with which options, and which other implementation."""
    entries = tomllib.loads(IDENTITIES.read_text())["same"]
    return [(entry.get("options", {}), entry["as"]) for entry in entries if entry["id"] == id]


def difference(info: SolverInfo, options: dict[str, Any], other: str) -> float:
    """How far a method ends from another implementation, relatively; UsageError where that is not installed."""
    end = end_of(info, options)
    theirs = end_of(foreign(other), {}) if ":" in other else _kept_end(other, ())
    return float((theirs - end).norm() / end.norm())

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
from .orders import PAST
from .trajectory import ends, exact, mixture

STEPS = 12
IDENTITIES = Path(__file__).with_name("identities.toml")
SAME, ROUND_OFF = 1e-5, 1e-12  # relative: several libraries compute a step in float32, registered methods in float64
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "unipc-1": [{"variant": "bh1"}], "unipc-2": [{"variant": "bh1"}], "unipc-3": [{"variant": "bh1"}],
    "ddim": [{"eta": 1.0}, {"eta": 0.5}],
}  # fmt: skip


PLACES: dict[str, dict[str, Any]] = {
    "FlowMatch": {"process": "flow"}, "ScoreSdeVe": {"process": "ve", "alone": True}, "dpm_fast": {"grid": "logsnr"},
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


@dataclass(frozen=True)
class Identity:
    """A map that a registered method is claimed to be: with which options, whose (`other`), and where the two are compared.

    Both start cold, or after exact points (`exact_start`), and take `steps` steps. The other has further points at the
    fractions `between` of each step in λ, where it takes for steps what are stages here; if `alone`, it gets one sample
    at a time, where its own batch would couple them. Draws pair one by one, or, of a `path`, by the values of the clock
    that both ask for.
    """

    id: str
    other: str
    options: dict[str, Any]
    process: str = "vp"
    grid: str = "karras"
    steps: int = STEPS
    exact_start: bool = False
    between: tuple[float, ...] = ()
    alone: bool = False
    path: bool = False

    @property
    def released(self) -> bool:
        return ":" in self.other

    def where(self) -> str:
        """The options, and what differs from the usual place, in words that end the name of a check."""
        chosen = "".join(f" {key}={value}" for key, value in self.options.items())
        process = "" if self.process == "vp" else f" on {self.process}"
        grid = "" if self.grid == "karras" else f", {self.grid}"
        how = (", exact start" if self.exact_start else "") + (", sample by sample" if self.alone else "")
        return f"{chosen and ' with' + chosen}{process}{grid}{how}"


class Sequenced(Noise):
    """The k-th draw is the k-th normal, whatever clock it is asked by: two libraries' draws pair one by one."""

    drawn = 0

    def increment(self, s_from: float, s_to: float) -> Tensor:
        self.drawn += 1
        return self._give(self._normals(INDEPENDENT, torch.tensor([self.drawn]))[0])

    def independent(self, position: int) -> Tensor:
        return self.increment(1.0, 2.0)


def end_of(info: SolverInfo, options: dict[str, Any], at: Identity | None = None, refined: bool = False) -> Tensor:
    """Where a method ends (32, 2), at the place of an identity, by default from a cold start on VP.

    An adaptive method whose place has more steps than STEPS goes from each of its times to the next, each in one step.
    """
    at = at or Identity(info.id, info.id, {})
    model, before = mixture(at.process), PAST if at.exact_start else 0
    p = model.process
    times = make_grid(at.grid, p, at.steps + before, *ends(p))
    start = tuple((t, exact(p, t)) for t in times[:before].tolist())
    times = times[before:]
    x = exact(p, float(times[0]))
    if refined and at.between:
        lam = p.lam(times)
        shares = torch.tensor((0.0, *at.between), dtype=times.dtype)
        times = p.t_of_lam(torch.cat([(lam[:-1, None] + torch.diff(lam)[:, None] * shares).flatten(), lam[-1:]]))
    batches = torch.arange(len(x)).split(1 if refined and at.alone else len(x))
    pieces = times.unfold(0, 2, 1) if info.adaptive and at.steps > STEPS else [times]
    with torch.no_grad():
        for piece in pieces:
            ended = []
            for rows in batches:
                noise = (Noise if at.path else Sequenced)(0, rows, model.shape)
                ended.append(solve(model, info, piece, x[rows], options=options, start=start, noise=noise).x)
            x = torch.cat(ended)
    return x


def place_of(id: str) -> Identity:
    """Where a sampler is compared with the registered methods: some are for one process or grid, or couple their batch."""
    return Identity(id, id, {}, **next((place for word, place in PLACES.items() if word in id), {}))


def _frozen(options: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(options.items()))


@cache
def _kept_end(id: str, options: tuple[tuple[str, Any], ...], process: str, grid: str) -> Tensor:
    """`end_of` a registered method: every sampler is compared with it."""
    try:
        return end_of(SOLVERS[id], dict(options), Identity(id, id, {}, process, grid))
    except Exception:  # a method that breaks is like none
        return torch.full((1,), torch.nan)


def likenesses(info: SolverInfo, options: dict[str, Any] | None = None) -> list[Likeness]:
    """The registered methods, itself left out, the nearest to this one first."""
    place = place_of(info.id)
    end = end_of(info, options or {}, place, refined=True)
    stochastic = info.stochastic(options or {})
    found = []
    for other in SOLVERS.values():
        for variant in ({}, *VARIANTS.get(other.id, [])):
            if other.id == info.id or other.adaptive or other.stochastic(variant) != stochastic:
                continue
            difference = float(
                (_kept_end(other.id, _frozen(variant), place.process, place.grid) - end).norm() / end.norm()
            )
            if difference == difference:
                found.append(Likeness(other.id, variant, difference))
    return sorted(found, key=lambda one: one.difference)


def identities(id: str) -> list[Identity]:
    """The maps that a registered method is claimed to equal."""
    entries = tomllib.loads(IDENTITIES.read_text())["same"]
    return [
        Identity(**{"options": {}, **entry, "between": tuple(entry.get("between", ()))})
        for entry in entries
        if entry["id"] == id
    ]


def difference(info: SolverInfo, options: dict[str, Any], at: Identity) -> float:
    """How far a method ends from another implementation, relatively; UsageError where that is not installed."""
    end = end_of(info, {**options, **at.options}, at)
    theirs = end_of(foreign(at.other) if at.released else SOLVERS[at.other], {}, at, refined=True)
    return float((theirs - end).norm() / end.norm())

"""Time grids by name: n + 1 monotone times from one end to the other. float64, on the host.

karras, karras?rho=5           a closed form of `spacings` or `align_your_steps`, with its options
80,20,5,0.5,0.002              explicit times t, as many steps as there are gaps
sigma:80,20,5,0.5,0.002        explicit noise levels σ̂ = σ/α
optimise, optimise?latents=16  points chosen for a model and a number of steps; made where there is a model, in `bench`
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from urllib.parse import parse_qsl

import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError, unknown
from scorebench.reference_models.process import Process

from . import align_your_steps as ays
from . import spacings
from .facts import normal

GRIDS: dict[str, Callable[..., Tensor]] = {
    grid.__name__: grid
    for grid in (
        spacings.time_uniform, spacings.time_quadratic, spacings.logsnr, spacings.karras, spacings.cosine,
        spacings.leading, spacings.linspace, spacings.trailing, spacings.beta, spacings.beta_sigma, spacings.shift,
        ays.ays_sd15, ays.ays_sdxl, ays.ays_deepfloyd, ays.ays_svd,
    )
}  # fmt: skip
OPTIMISE = "optimise"
OPTIMISE_OPTIONS = {"latents": 64.0, "teacher": 60.0, "coefficient": 1.05}  # see bench.optimised_grids
ALIASES = {
    "exponential": "logsnr", "polyexponential": "logsnr", "lu_lambdas": "logsnr", "log": "logsnr",
    "polynomial": "karras", "rho": "karras", "edm": "karras",
    "uniform": "time_uniform", "quadratic": "time_quadratic",
    "kl_optimal": "cosine", "normal": "linspace", "sgm_uniform": "linspace", "simple": "trailing", "discrete": "linspace",
    "ddim_uniform": "leading", "flow_sigmas": "shift", "gits": OPTIMISE, "optimize": OPTIMISE,
    "ays": "ays_sd15", "align_your_steps": "ays_sd15", "align_your_steps_gits": OPTIMISE,
    "StableDiffusionSigmas": "ays_sd15", "StableDiffusionXLSigmas": "ays_sdxl", "StableDiffusionVideoSigmas": "ays_svd",
}  # fmt: skip
NAMES = {normal(name): id for name, id in ({id: id for id in (*GRIDS, OPTIMISE)} | ALIASES).items()}
SNAP = 0.01  # how far, relatively, the ends of an explicit list may lie from those of the process


@dataclass(frozen=True)
class GridName:
    """What a grid's text means: a named grid with the options that are not its defaults, or explicit points."""

    id: str
    options: tuple[tuple[str, float], ...] = ()
    points: tuple[float, ...] = ()

    @property
    def steps(self) -> int | None:
        """The number of steps that explicit points fix."""
        return len(self.points) - 1 if self.points else None

    def __str__(self) -> str:
        """The one spelling under which results are kept."""
        if self.points:
            return ("sigma:" if self.id == "sigma" else "") + ",".join(f"{point:.12g}" for point in self.points)
        return self.id + "".join(
            f"{'&' if place else '?'}{name}={value:g}" for place, (name, value) in enumerate(self.options)
        )


def parse_grid(text: str) -> GridName:
    """The grid of that text, aliases and defaults resolved; UsageError says what is wrong in it."""
    kind, colon, rest = text.partition(":")
    if colon or "," in text:
        if colon and kind not in ("sigma", "t"):
            raise unknown(f"kind of grid in {text!r}", kind, ("sigma", "t"))
        return GridName("sigma" if kind == "sigma" else "t", (), _points(text, rest if colon else text))
    name, _, query = text.partition("?")
    if normal(name) not in NAMES:
        raise unknown("grid", name, (*GRIDS, OPTIMISE))
    id = NAMES[normal(name)]
    defaults = options_of(id)
    given = {key: _number(text, key, value, defaults) for key, value in parse_qsl(query, keep_blank_values=True)}
    return GridName(id, tuple((key, given[key]) for key in defaults if given.get(key, defaults[key]) != defaults[key]))


def options_of(id: str) -> dict[str, float]:
    """The options of a named grid with their defaults: its keyword-only arguments."""
    if id == OPTIMISE:
        return OPTIMISE_OPTIONS
    parameters = inspect.signature(GRIDS[id]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def make_grid(text: str, process: Process, steps: int, first: float, last: float) -> Tensor:
    """The grid (steps + 1,) of that name from t = first to t = last, whose ends are exact; UsageError otherwise."""
    name = parse_grid(text)
    if steps < 1:
        raise UsageError(f"grid {name} needs at least 1 step, got {steps}")
    ends = torch.tensor([max(first, last), min(first, last)], dtype=torch.float64)
    if name.points:
        grid = _explicit(name, process, ends, steps)
    elif name.id == OPTIMISE:
        raise UsageError(
            "grid optimise is made for a model: name it in a suite, or with `scorebench run --grid optimise`"
        )
    else:
        grid = GRIDS[name.id](process, ends[0], ends[1], steps, **dict(name.options))
    grid[0], grid[-1] = ends
    if not bool((torch.diff(grid) < 0).all()):
        raise UsageError(
            f"grid {name}: {steps} steps are more than it can tell apart between t={first:g} and t={last:g}"
        )
    return grid if first > last else grid.flip(0)


def check_points(name: GridName, process: Process, first: float, last: float) -> None:
    """UsageError unless the explicit points of a grid go from one end of the process to the other."""
    if name.points:
        make_grid(str(name), process, len(name.points) - 1, first, last)


def _explicit(name: GridName, process: Process, ends: Tensor, steps: int) -> Tensor:
    points = torch.tensor(name.points, dtype=torch.float64)
    if len(points) != steps + 1:
        raise UsageError(f"grid {name} has {len(points) - 1} steps, got {steps}")
    points = points if points[0] > points[-1] else points.flip(0)
    high, low = (process.sigma_hat(ends) if name.id == "sigma" else ends).tolist()
    what = "sigma" if name.id == "sigma" else "t"
    for end, wanted, place in ((points[0], high, "begins"), (points[-1], low, "ends")):
        if abs(float(end) - wanted) > SNAP * wanted:
            raise UsageError(
                f"grid {name} {place} at {what}={float(end):g}: on this process it goes from {high:.6g} to {low:.6g}, "
                f"as all grids do, to within {SNAP:.0%}"
            )
    return process.t_of_sigma_hat(points) if name.id == "sigma" else points


def _points(text: str, listed: str) -> tuple[float, ...]:
    try:
        points = tuple(float(word) for word in listed.split(","))
    except ValueError:
        raise UsageError(
            f"grid {text!r}: a list is of numbers, as in 80,20,5,0.5,0.002 or sigma:14.6,1.9,0.03"
        ) from None
    if len(points) < 2 or not all(isfinite(point) for point in points):
        raise UsageError(f"grid {text!r}: a list has at least two finite numbers, from one end to the other")
    gaps = [after - before for before, after in pairwise(points)]
    for place, gap in enumerate(gaps):
        if gap * gaps[0] <= 0:
            raise UsageError(f"grid {text!r} is not monotone: {points[place + 1]:g} comes after {points[place]:g}")
    return points


def _number(text: str, key: str, value: str, defaults: dict[str, float]) -> float:
    if key not in defaults:
        if not defaults:
            raise UsageError(f"grid {text!r}: {text.partition('?')[0]} takes no options, got {key!r}")
        raise unknown(f"option of grid {text.partition('?')[0]}", key, defaults)
    try:
        number = float(value)
    except ValueError:
        raise UsageError(f"grid {text!r}: option {key} is a number, got {value!r}") from None
    if not isfinite(number) or number < 0 or (number == 0 and defaults[key] > 0):
        raise UsageError(f"grid {text!r}: option {key} must be above 0, as {defaults[key]:g} is by default")
    return number

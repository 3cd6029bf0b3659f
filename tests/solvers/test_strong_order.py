"""Strong order of stochastic methods by coupled paths: the same Brownian path at every step size.

The reference is the same SDE on a fine grid with the same path in the same clock: by the method itself, and, for the clocks
that several methods share, by another one, so that a method that converges to a wrong SDE is caught too.
"""

import math
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import Model
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

DOUBLE = torch.float64
FIRST, LAST, PATHS = 0.8, 0.2, 150
LADDER = (64, 256, 2048)  # the last one is the reference: its own error adds at most 0.07 to an order of 1
STRONG = sorted(info.id for info in SOLVERS.values() if info.strong is not None and not info.adaptive)


class Coupled(Noise):
    """A Brownian path per sample, drawn at all the values of the clock that are asked for at any step size."""

    def __init__(self, size: int) -> None:
        super().__init__(0, torch.arange(size), (2,))
        self.clock: set[float] = set()
        self.values: dict[float, Tensor] = {}

    def draw(self) -> None:
        clock = torch.tensor(sorted(self.clock), dtype=DOUBLE)
        z = torch.randn(len(clock), len(self.indices), 2, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
        z[1:] *= torch.sqrt(torch.diff(clock))[:, None, None]
        self.values = dict(zip(clock.tolist(), z.cumsum(0), strict=True))

    def increment(self, s_from: float, s_to: float) -> Tensor:
        if not self.values:
            self.clock |= {s_from, s_to}
            return torch.zeros(len(self.indices), 2, dtype=DOUBLE)
        return (self.values[s_to] - self.values[s_from]) / math.sqrt(abs(s_to - s_from))


@cache
def start(process: str) -> tuple[Model, Tensor]:
    """The mixture, and points (b, 2) of its p_t at FIRST."""
    model, generator = load_model(f"exact:gmm?process={process}"), torch.Generator().manual_seed(0)
    x0 = model.samples(PATHS, generator)  # type: ignore[attr-defined]
    first = torch.tensor(FIRST, dtype=DOUBLE)
    z = torch.randn(x0.shape, generator=generator, dtype=DOUBLE)
    return model, model.process.alpha(first) * x0 + model.process.sigma(first) * z


def grids(process: str) -> list[Tensor]:
    p = start(process)[0].process
    return [make_grid("logsnr", p, steps, FIRST, LAST) for steps in LADDER]


def coupled_ends(id: str, process: str, reference: str | None = None, **options: Any) -> list[Tensor]:
    """x(LAST) of all paths (b, 2) at each number of steps of LADDER, the last one by the reference if there is one."""
    model, x = start(process)
    runs = [(id, options, grid) for grid in grids(process)]
    if reference:
        runs[-1] = (reference, {}, runs[-1][2])
    one, noise = torch.zeros(1, 2, dtype=DOUBLE), Coupled(PATHS)
    for name, chosen, grid in runs:
        spy = Coupled(1)
        solve(model, find(name), grid, one, options=chosen, noise=spy)
        noise.clock |= spy.clock
    noise.draw()
    return [solve(model, find(name), grid, x, options=chosen, noise=noise).x for name, chosen, grid in runs]


def strong_errors(id: str, process: str, reference: str | None = None, **options: Any) -> list[float]:
    """E |x − fine solution| over the paths (Kloeden & Platen's strong error), for each coarser number of steps."""
    *ends, truth = coupled_ends(id, process, reference, **options)
    return [float((end - truth).norm(dim=1).mean()) for end in ends]


def strong_order(id: str, process: str, **options: Any) -> float:
    coarse, fine = strong_errors(id, process, **options)
    return math.log(coarse / fine) / math.log(LADDER[1] / LADDER[0])


@pytest.mark.parametrize("id", STRONG)
def test_declared_strong_order(id: str) -> None:
    """With the reverse SDE's noise: with little noise the drift's error, of the weak order, hides the noise's."""
    options = {"phi": "sde"} if "phi" in SOLVERS[id].options else {}
    assert strong_order(id, "vp", **options) == pytest.approx(SOLVERS[id].strong, abs=0.2)


@pytest.mark.parametrize(
    ("id", "reference", "options"),
    [  # the clock e^{2λ} of methods in x0 at dial 1, and σ̂² of methods in ε
        ("sde-dpmpp-2m", "sde-dpmpp-1", {}),
        ("sde-dpmpp-3m", "sde-dpmpp-1", {}),
        ("sde-dpmpp-3m-corrected", "sde-dpmpp-1", {}),
        ("sa-solver", "sde-dpmpp-1", {}),
        ("dpmpp-2s-ancestral", "sde-dpmpp-1", {}),
        ("er-sde-1", "sde-dpmpp-1", {"phi": "sde"}),
        ("er-sde-2", "sde-dpmpp-1", {"phi": "sde"}),
        ("er-sde-3", "sde-dpmpp-1", {"phi": "sde"}),
        ("seeds-2", "seeds-1", {}),
        ("seeds-3", "seeds-1", {}),
        ("ddim", "seeds-1", {"eta": 1.0}),
    ],
)
def test_methods_with_one_clock_have_one_limit(id: str, reference: str, options: dict[str, Any]) -> None:
    """Distances to another method's fine solution fall as well, to the error of that one."""
    coarse, fine = strong_errors(id, "flow", reference, **options)
    assert fine < coarse / 2.5


def test_paths_of_another_clock_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that is not one path leaves no strong order: here every step size has normals of its own."""

    def increment(self: Coupled, s_from: float, s_to: float) -> Tensor:
        generator = torch.Generator().manual_seed(hash((s_from, s_to)) % 2**31)
        return torch.randn(len(self.indices), 2, generator=generator, dtype=DOUBLE)

    monkeypatch.setattr(Coupled, "draw", lambda self: None)
    monkeypatch.setattr(Coupled, "increment", increment)
    assert strong_order("sde-dpmpp-1", "vp") < 0.3

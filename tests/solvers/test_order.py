"""Orders on the mixture's flow: float64, t in [0.2, 0.8], against Dormand–Prince at 1e-12."""

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.methods.rk45 import DORMAND_PRINCE
from scorebench.solvers.methods.runge_kutta import EULER, HEUN, Tableau
from scorebench.solvers.registry import find

FIXED = sorted(info.id for info in SOLVERS.values() if info.kind == "ode" and not info.adaptive)
FIRST, LAST, SAMPLES = 0.8, 0.2, 32
DOUBLE = torch.float64
TIGHT = {"rtol": 1e-12, "atol": 1e-13}


@cache
def start() -> Tensor:
    model = load_model("exact:gmm?process=flow")
    generator = torch.Generator().manual_seed(0)
    x0 = model.samples(SAMPLES, generator)  # type: ignore[attr-defined]
    return (1 - FIRST) * x0 + FIRST * torch.randn(x0.shape, generator=generator, dtype=DOUBLE)


@cache
def exact(t: float) -> Tensor:
    """The trajectory from `start` at t = FIRST, at time t."""
    model = load_model("exact:gmm?process=flow")
    return solve(model, find("rk45"), torch.tensor([FIRST, t], dtype=DOUBLE), start(), options=TIGHT).x


def error(id: str, steps: int, grid_name: str, exact_start: bool) -> float:
    """Median distance to the exact solution; an exact start gives three points of the trajectory before the first step."""
    model, info = load_model("exact:gmm?process=flow"), find(id)
    before = 3 if exact_start else 0
    grid = make_grid(grid_name, model.process, steps + before, FIRST, LAST)
    past = tuple((float(t), exact(float(t)) if i else start()) for i, t in enumerate(grid[:before]))
    x = exact(float(grid[before])) if before else start()
    solution = solve(model, info, grid[before:], x, start=past)
    return float((solution.x - exact(LAST)).norm(dim=1).median())


def measured_order(id: str, steps: tuple[int, int], grid_name: str, exact_start: bool) -> float:
    coarse, fine = (error(id, n, grid_name, exact_start) for n in steps)
    before = 3 if exact_start else 0
    return math.log(coarse / fine) / math.log((steps[1] + before) / (steps[0] + before))


@pytest.mark.parametrize("grid_name", ["time_uniform", "logsnr", "karras"])
@pytest.mark.parametrize("id", FIXED)
def test_declared_order_from_exact_starting_values(id: str, grid_name: str) -> None:
    assert measured_order(id, (64, 128), grid_name, exact_start=True) == pytest.approx(SOLVERS[id].order, abs=0.2)


@pytest.mark.parametrize("id", FIXED)
def test_declared_order_self_started(id: str) -> None:
    """A cold start on a uniform grid. Where it caps the order, the start's error dominates only on fine grids."""
    info = SOLVERS[id]
    steps = (64, 128) if info.order == info.self_started else (512, 1024)
    assert measured_order(id, steps, "time_uniform", exact_start=False) == pytest.approx(info.self_started, abs=0.2)


def test_an_order_two_method_does_not_pass_as_order_three() -> None:
    assert abs(measured_order("heun", (64, 128), "logsnr", True) - 3) > 0.5


ORDER_CONDITIONS = {  # sums over trees of b, a and c, with their values, to order 4; and the quadrature conditions to order 5
    1: [("b", 1.0)],
    2: [("bc", 1 / 2)],
    3: [("bcc", 1 / 3), ("bac", 1 / 6)],
    4: [("bccc", 1 / 4), ("bcac", 1 / 8), ("bacc", 1 / 12), ("baac", 1 / 24)],
    5: [
        ("bcccc", 1 / 5),
        ("baacc", 1 / 60),
        ("baaac", 1 / 120),
        ("baccc", 1 / 20),
        ("bccac", 1 / 10),
        ("bcacc", 1 / 15),
    ],
}


@pytest.mark.parametrize(("tableau", "order"), [(EULER, 1), (HEUN, 2), (DORMAND_PRINCE, 5)])
def test_tableaux_satisfy_their_order_conditions(tableau: Tableau, order: int) -> None:
    stages = len(tableau.b)
    a = torch.zeros(stages, stages, dtype=DOUBLE)
    for i, row in enumerate(tableau.a):
        a[i, : len(row)] = torch.tensor(row, dtype=DOUBLE)
    c = torch.tensor(tableau.c, dtype=DOUBLE)
    for trees in (ORDER_CONDITIONS[n] for n in range(1, order + 1)):
        for tree, value in trees:
            weight = torch.ones(stages, dtype=DOUBLE)
            for letter in reversed(tree[1:]):
                weight = c * weight if letter == "c" else a @ weight
            assert float(torch.tensor(tableau.b, dtype=DOUBLE) @ weight) == pytest.approx(value, abs=1e-14), tree


@pytest.mark.parametrize(
    "pieces",
    [
        {"a": ((), (0.5,)), "b": (0.5, 0.5), "c": (0, 1)},
        {"a": ((),), "b": (0.9,), "c": (0,)},
        {"a": ((),), "b": (1,), "c": ()},
    ],
)
def test_inconsistent_tableaux_are_refused(pieces: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="tableau"):
        Tableau(**pieces)  # type: ignore[arg-type]

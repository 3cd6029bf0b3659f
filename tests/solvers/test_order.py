"""Declared orders along the exact flow of the mixture, and order conditions of the tableaux.

The certificates look at every grid and process besides; here are those that tell most methods apart.
"""

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from scorebench.bench.certificates.orders import observe
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.methods.dop853 import pair as eighth
from scorebench.solvers.methods.rk45 import DORMAND_PRINCE, RK23, RK45, Pair
from scorebench.solvers.methods.runge_kutta import BOGACKI_SHAMPINE, CLASSICAL, EULER, HEUN, MIDPOINT, Tableau
from scorebench.solvers.registry import find

FIXED = sorted(info.id for info in SOLVERS.values() if info.kind == "ode" and not info.adaptive and info.order)
DOUBLE = torch.float64


@pytest.mark.parametrize("id", FIXED)
def test_declared_order_from_exact_starting_values(id: str) -> None:
    assert observe(find(id), "flow", "karras", ladder=(64, 128)).value == pytest.approx(SOLVERS[id].order, abs=0.2)


@pytest.mark.parametrize("id", FIXED)
def test_declared_order_self_started(id: str) -> None:
    """A cold start on a uniform grid. Where it caps the order, it shows on fine grids, and not in every process."""
    info = SOLVERS[id]
    ladder, processes = ((64, 128), ["flow"]) if info.order == info.self_started else ((512, 1024), ["flow", "ve"])
    found = min(observe(info, name, "time_uniform", False, ladder).value for name in processes)
    assert found == pytest.approx(info.self_started, abs=0.2)


def test_an_order_two_method_does_not_pass_as_order_three() -> None:
    found = observe(find("heun"), ladder=(64, 128))
    assert found.high < 2.5


Tree = tuple["Tree", ...]  # a rooted tree as the sorted tuple of the trees that hang from its root


@cache
def trees(order: int) -> tuple[Tree, ...]:
    """The rooted trees of so many nodes: 1, 1, 2, 4, 9, 20, 48, 115 of them for orders 1 to 8."""
    if order == 1:
        return ((),)
    return tuple({bigger for tree in trees(order - 1) for bigger in more(tree)})


def more(tree: Tree) -> set[Tree]:
    """The trees with one node more than this one that contain it."""
    inner = {tuple(sorted((*tree[:i], bigger, *tree[i + 1 :]))) for i in range(len(tree)) for bigger in more(tree[i])}
    return inner | {tuple(sorted((*tree, ())))}


def size(tree: Tree) -> int:
    return 1 + sum(size(part) for part in tree)


def density(tree: Tree) -> int:
    """γ of a tree: its size times the densities of what hangs from its root."""
    return size(tree) * math.prod(density(part) for part in tree)


def weight(tree: Tree, a: Tensor) -> Tensor:
    """Butcher's elementary weights of a tree's branches at each stage (s,)."""
    return math.prod((a @ weight(part, a) for part in tree), start=torch.ones(len(a), dtype=DOUBLE))


def defect(tableau: Tableau, order: int) -> float:
    """The largest |Σ b Φ(τ) − 1/γ(τ)| over the trees τ of one order."""
    stages = len(tableau.b)
    a = torch.tensor([[*row, *[0.0] * (stages - len(row))] for row in tableau.a], dtype=DOUBLE)
    b = torch.tensor(tableau.b, dtype=DOUBLE)
    return max(abs(float(b @ weight(tree, a)) - 1 / density(tree)) for tree in trees(order))


@pytest.mark.parametrize(
    ("tableau", "order"),
    [
        (EULER, 1),
        (MIDPOINT, 2),
        (HEUN, 2),
        (BOGACKI_SHAMPINE, 3),
        (CLASSICAL, 4),
        (DORMAND_PRINCE, 5),
        (eighth().tableau, 8),
    ],
)
def test_tableaux_satisfy_their_order_conditions(tableau: Tableau, order: int) -> None:
    """All of them up to the order, and not all of the next one."""
    assert max(defect(tableau, n) for n in range(1, order + 1)) < 1e-14
    assert len(trees(order)) == [1, 1, 2, 4, 9, 20, 48, 115][order - 1]
    assert defect(tableau, order + 1) > 1e-6


@pytest.mark.parametrize(("pair", "orders"), [(RK45, [4]), (RK23, [2]), (eighth(), [5, 3])])
def test_error_estimates_are_differences_of_two_orders(pair: Pair, orders: list[int]) -> None:
    """b − b̂ vanishes on the trees of the lower order and on no larger ones; the last stage of b is the slope at the end."""
    whole = Tableau((*pair.tableau.a, pair.tableau.b), (*pair.tableau.b, 0.0), (*pair.tableau.c, 1.0))
    for errors, order in zip(pair.errors, orders, strict=True):
        lower = Tableau(whole.a, tuple(b - e for b, e in zip(whole.b, errors, strict=True)), whole.c)
        assert max(defect(lower, n) for n in range(1, order + 1)) < 1e-14
        assert defect(lower, order + 1) > 1e-6


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

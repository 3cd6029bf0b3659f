"""Strong order of stochastic methods by coupled paths: the same Brownian path at every step size.

The reference is the same SDE on a fine grid with the same path in the same clock: by the method itself, and, for the clocks
that several methods share, by another one, so that a method that converges to a wrong SDE is caught too.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from scorebench.bench.certificates.strong import Coupled, errors, strong_order
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.registry import find


@pytest.mark.parametrize("id", ["euler-maruyama", "sde-dpmpp-2m", "seeds-2"])  # the certificates look at all
def test_declared_strong_order(id: str) -> None:
    """With the reverse SDE's noise: with little noise the drift's error, of the weak order, hides the noise's."""
    options = {"phi": "sde"} if "phi" in SOLVERS[id].options else {}
    assert strong_order(find(id), "vp", options).value == pytest.approx(SOLVERS[id].strong, abs=0.2)


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
    coarse, fine = errors(find(id), "flow", options, find(reference))
    assert fine.mean() < coarse.mean() / 2.5


def test_paths_of_another_clock_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise that is not one path leaves no strong order: here every step size has normals of its own."""

    def increment(self: Coupled, s_from: float, s_to: float) -> Tensor:
        generator = torch.Generator().manual_seed(hash((s_from, s_to)) % 2**31)
        return torch.randn(len(self.indices), 2, generator=generator, dtype=torch.float64)

    monkeypatch.setattr(Coupled, "draw", lambda self: None)
    monkeypatch.setattr(Coupled, "increment", increment)
    assert strong_order(find("sde-dpmpp-1"), "vp", {}).value < 0.3

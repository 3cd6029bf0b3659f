"""Floating-point operations against those counted by hand."""

import torch
from torch import Tensor, nn

from scorebench.bench.flops import count
from scorebench.reference_models.network import NetworkModel
from scorebench.reference_models.parameterisation import Parameterisation
from scorebench.reference_models.process import make_process


class Linear(nn.Module):
    """x ↦ Ax in three dimensions: 2·9 operations forwards, and as many for zᵀA."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)

    def forward(self, x: Tensor, c_noise: Tensor, class_labels: Tensor | None = None, **_: object) -> tuple[Tensor]:
        return (self.a(x),)


def test_an_evaluation_and_a_product_by_hand() -> None:
    model = NetworkModel("linear", Linear(), make_process("vp"), Parameterisation("epsilon"), (3,), "")
    flops = count(model, torch.float32)
    assert (flops.evaluation, flops.product) == (18.0, 18.0)
    assert flops.spent(10.0, 0) == 180.0 and flops.spent(10.0, 2) == 216.0


def test_both_halves_of_guidance_are_evaluations() -> None:
    process, parameterisation = make_process("vp"), Parameterisation("epsilon")
    guided = NetworkModel("linear", Linear(), process, parameterisation, (3,), "", None, 1, 2, 3.0)
    assert guided.evaluations_per_call == 2
    assert count(guided, torch.float32).evaluation == 18.0


def test_a_model_without_a_derivative_has_no_likelihoods() -> None:
    class Detached(Linear):
        def forward(self, x: Tensor, c_noise: Tensor, class_labels: Tensor | None = None, **_: object) -> tuple[Tensor]:
            return (self.a(x.detach()),)

    model = NetworkModel("cut", Detached(), make_process("vp"), Parameterisation("x0"), (3,), "")
    flops = count(model, torch.float32)
    assert flops.product is None and flops.spent(5.0, 1) is None and flops.spent(5.0, 0) == 90.0

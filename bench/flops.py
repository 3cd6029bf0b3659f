"""Floating-point operations of one network evaluation and of one Jacobian product, by torch's counter of matrix products."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from scorebench.reference_models.model import Model
from scorebench.solvers.trace import Reverse

from .cells import Cell
from .placement import on_host
from .suite import evaluations_per_call

BATCH = 4


@dataclass(frozen=True)
class Flops:
    """Of one sample: an evaluation's, and a vector–Jacobian product's beyond it; None where the model has none."""

    evaluation: float
    product: float | None

    def spent(self, evaluations: float, vjps: int) -> float | None:
        """Of one sample, by what was counted for it."""
        if vjps and self.product is None:
            return None
        return self.evaluation * evaluations + (self.product or 0.0) * vjps


class Counter(TorchDispatchMode):
    """The operations of what runs inside, by torch's formulas.

    torch's own FlopCounterMode imports the compiler with its first operation, which takes seconds of every process.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                if (parts := func.decompose(*args, **kwargs)) is not NotImplemented:
                    return parts
        result = func(*args, **kwargs)
        self.flops += 0 if formula is None else formula(*args, **kwargs, out_val=result)
        return result


_known: dict[tuple[str, str, torch.dtype], Flops] = {}


def flops_of(cell: Cell) -> Flops:
    """Those of a cell's model, counted once a process."""
    key = (cell.config["model"], cell.config["model_digest"], cell.dtype)
    if key not in _known:
        with on_host(cell.model, cell.dtype, cell.device):
            _known[key] = count(cell.model, cell.dtype)
    return _known[key]


def count(model: Model, dtype: torch.dtype) -> Flops:
    """By the counter, at the middle of the process, of zeros."""
    p = model.process
    x = torch.zeros(BATCH, *model.shape, dtype=dtype)
    t = torch.tensor(0.5 * (p.t_min + p.t_max), dtype=torch.float64)
    with torch.no_grad(), Counter() as calls:
        model.denoise(x, t)
    evaluation = calls.flops / BATCH / evaluations_per_call(model)
    try:
        products = Reverse(lambda at: model.denoise(at, t), x, lambda: None)
        with Counter() as counted:
            products(x[None])
    except Exception:  # a model of the user's without a derivative has likelihoods of no solver
        return Flops(evaluation, None)
    return Flops(evaluation, counted.flops / BATCH)

"""How a suite's networks run: compiled, channels-last, in lower precision. The state stays contiguous and in its own type.

With `capture`, on the processor torch compiles the network, and on a GPU a timed solve is recorded as one CUDA graph and
replayed; both need fixed steps. Exact models run as they are.
"""

from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import replace
from functools import lru_cache
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from scorebench.reference_models.errors import unknown
from scorebench.reference_models.model import Model
from scorebench.reference_models.network import Lazy, NetworkModel
from scorebench.solvers.drive import Solution

from .entries import Strict

FORWARD = ("sample", "time")  # the passes that differentiate no network
PRECISIONS = ("", "bfloat16", "float16")
WARM = 3  # solves before one is recorded: kernels are chosen and compiled in them


class Execution(Strict):
    """What a suite, or the command line, asks for."""

    capture: bool = False
    channels_last: bool = False
    autocast: Literal["", "bfloat16", "float16"] = ""

    def of(self, kind: str, model: Model) -> dict[str, Any]:
        """What is asked of the cells of a pass: nothing of exact models, or where the network is differentiated."""
        if not isinstance(model, NetworkModel) or kind not in FORWARD:
            return {}
        return {name: value for name, value in self.model_dump().items() if value}

    def under(self, **more: bool | str) -> "Execution":
        """With what the command line adds; UsageError for a precision that is none."""
        if (precision := more.get("autocast", "")) not in PRECISIONS:
            raise unknown("precision", str(precision), PRECISIONS[1:])
        return self.model_copy(update={name: value for name, value in more.items() if value})


class Executed(nn.Module):
    """A network that computes as told, of an x that it gets and an answer that it gives contiguous and in the type of x."""

    def __init__(self, network: nn.Module, channels_last: bool, autocast: str) -> None:
        super().__init__()
        self.form = torch.channels_last if channels_last else torch.contiguous_format
        self.network: nn.Module = cast(Any, network).to(memory_format=self.form)
        self.precision = getattr(torch, autocast) if autocast else None

    def forward(self, x: Tensor, c_noise: Tensor, **options: Any) -> tuple[Tensor]:
        given = x.contiguous(memory_format=self.form) if x.ndim == 4 else x
        with torch.autocast(x.device.type, self.precision, enabled=self.precision is not None):
            out = self.network(given, c_noise, **options)[0]
        return (out.to(x.dtype).contiguous(),)


def executed(model: Model, asked: dict[str, Any], device: torch.device) -> Model:
    """The model as it runs in a cell of this configuration; itself, where nothing is asked."""
    if not asked or not isinstance(model, NetworkModel):
        return model
    compiled = asked.get("capture", False) and device.type == "cpu"
    return _executed(model, compiled, asked.get("channels_last", False), asked.get("autocast", ""))


@lru_cache(maxsize=8)  # cells of one model share what is compiled
def _executed(model: NetworkModel, compiled: bool, channels_last: bool, autocast: str) -> NetworkModel:
    """A copy, as its weights may lie in another order; it has the type and the place that the model has when it is made."""
    network: nn.Module = Executed(deepcopy(model.network), channels_last, autocast)
    if compiled:
        network.compile(dynamic=False)
    other = copy(model)
    other._lazy = Lazy(network)
    return other


def recorded(work: Callable[[], Solution]) -> Callable[[], Solution]:
    """A solve on a GPU as one CUDA graph; what it returns is overwritten by the next. It must take nothing from the host."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    graph = torch.cuda.CUDAGraph()
    with torch.inference_mode():
        with torch.cuda.stream(side):
            for _ in range(WARM):
                work()
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            end = work()

    def replay() -> Solution:
        graph.replay()
        return replace(end)

    return replay

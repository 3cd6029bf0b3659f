"""The command doctor: what this installation can do, and what mends it."""

from collections.abc import Callable
from typing import Any

from .shared import app, print_facts


@app.command()
def doctor() -> None:
    """Say what this installation can do, and name the cause where it cannot."""
    import torch

    from scorebench.bench.provenance import machine
    from scorebench.reference_models import torchvision_repair
    from scorebench.reference_models.addresses import load_model, shipped

    lines: dict[str, Any] = {"machine": machine(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    lines["CUDA"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none: CPU only"
    needed = torchvision_repair.needed()
    lines["torchvision"] = (
        "CUDA build beside CPU torch: its two operators are declared for it" if needed else "no repair needed"
    )
    lines["torch-fidelity"] = _try(_import_fidelity)
    lines.update({f"model {name}": _try(lambda n=name: load_model(n)) for name in shipped()})  # type: ignore[misc]
    print_facts(lines)


def _import_fidelity() -> None:
    from scorebench.reference_models.torchvision_repair import repair

    repair()
    import torch_fidelity  # noqa: F401


def _try(work: Callable[[], object]) -> str:
    try:
        work()
    except Exception as error:
        return f"FAILS: {error}"
    return "works"

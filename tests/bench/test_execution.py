"""How networks run: what is asked changes the network's call and the cell's key, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scorebench.bench.cells import plan
from scorebench.bench.execution import Executed, Execution, executed, recorded
from scorebench.bench.rows import rows_of
from scorebench.bench.runner import run_suite
from scorebench.bench.store import Store
from scorebench.bench.suite import ModelEntry, SolverEntry, Suite, Timing
from scorebench.bench.timing import HOST
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.network import NetworkModel
from scorebench.reference_models.parameterisation import Parameterisation
from scorebench.reference_models.process import VP
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.registry import find

SOURCE = """
from scorebench.reference_models.network import NetworkModel
from scorebench.reference_models.parameterisation import Parameterisation
from scorebench.reference_models.process import make_process
from torch import nn

class Bend(nn.Module):
    def forward(self, x, c_noise, return_dict=False):
        return (0.1 * x.sin(),)

def bend():
    return NetworkModel("bend", Bend(), make_process("vp"), Parameterisation("epsilon"), (2, 4, 4), "0123abcd")
"""


class Seen(nn.Module):
    """A convolution that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Conv2d(2, 2, 3, padding=1)
        self.given: list[Tensor] = []
        for weights in self.parameters():
            nn.init.normal_(weights, generator=torch.Generator().manual_seed(0))

    def forward(self, x: Tensor, c_noise: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        self.given.append(x)
        return (self.inside(x),)


def seen() -> NetworkModel:
    return NetworkModel("seen", Seen(), VP(), Parameterisation("epsilon"), (2, 4, 4), "")


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    (tmp_path / "bend.py").write_text(SOURCE)
    address = f"python:{tmp_path}/bend.py:bend"
    return Suite(
        name="executed",
        budgets=[4],
        models=[ModelEntry(address=address, n=2), ModelEntry(address="exact:gaussian", n=2)],
        solvers=[
            SolverEntry(id="ddim", options={"eta": 1.0}),
            SolverEntry(id="bs32", ladder=[{"rtol": 0.5, "atol": 0.5}]),
        ],
        noise_seeds=1,
        metrics=["time_ms"],
        timing=Timing(models=[address], batches=[2], rounds=1),
    )


def test_the_state_stays_as_it_is_whatever_the_network_computes_in() -> None:
    model, x = seen(), torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    c = torch.ones(3)
    for options, tolerance in (({"channels_last": True}, 1e-6), ({"autocast": "bfloat16"}, 0.05)):
        other = executed(model, options, HOST)
        assert isinstance(other, NetworkModel) and isinstance(other.network, Executed)
        out = other.network(x, c, return_dict=False)[0]
        assert out.dtype is torch.float32 and out.is_contiguous()
        expected = model.network(x, c)[0]
        far = float((out - expected).abs().max() / expected.abs().max())
        assert far <= tolerance and (far > 1e-4) is ("autocast" in options)
    inside = executed(model, {"channels_last": True}, HOST).network.network.given  # type: ignore[attr-defined]
    assert all(given.is_contiguous(memory_format=torch.channels_last) for given in inside)
    assert executed(model, {}, HOST) is model


def test_capture_compiles_the_network_once_for_all_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: compiled.append((self, options)))
    model = seen()
    one, other = (executed(model, {"capture": True}, HOST) for _ in range(2))
    assert one is other and len(compiled) == 1 and compiled[0] == (one.network, {"dynamic": False})  # type: ignore[attr-defined]
    assert executed(model, {"capture": True}, torch.device("cuda")) is not one and len(compiled) == 1


def test_what_compiles_gives_what_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through torch's tracer, without its code generator, which takes a quarter of a minute."""
    compile_ = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **options: compile_(self, backend="eager", **options))
    model, info = seen(), find("dpmpp-2m")
    p, x = model.process, torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    grid = make_grid(info.grid, p, 4, p.t_max, p.t_min)
    with torch.no_grad():
        ends = [solve(m, info, grid, x).x for m in (executed(model, {"capture": True}, HOST), model)]
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-6 * float(ends[1].abs().max()))


def test_cells_have_keys_and_rows_of_their_own(suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of networks alone; an adaptive solver cannot be captured, and is a row that says so."""
    monkeypatch.setattr("scorebench.bench.timing.warm_up", lambda jobs: None)
    asked = Execution(channels_last=True, autocast="bfloat16")
    moved = suite.select([], [], [], execution=asked)
    plain, other, store = plan(suite), plan(moved), Store(tmp_path / "store")
    of_network = [a.config["model"] == suite.models[0].address for a in plain]
    assert [a.key != b.key for a, b in zip(plain, other, strict=True)] == of_network and sum(of_network) == 4
    assert all(
        (a.config["source"] != b.config["source"]) == bool(b.execution) for a, b in zip(plain, other, strict=True)
    )
    assert run_suite(moved, store).failed == 0
    cell = next(cell for cell in other if cell.execution and not cell.info.adaptive)
    options = rows_of(store.cell(cell.key), {}, "")[0]["options"]
    assert options == '{"autocast": "bfloat16", "channels_last": true, "eta": 1.0}'
    exact = next(cell for cell in other if cell.config["model"] == "exact:gaussian")
    assert exact.runs is exact.model


def test_a_solver_whose_steps_depend_on_the_data_is_not_captured(suite: Suite) -> None:
    captured = suite.select([], [], [], execution=Execution(capture=True))
    found = {(cell.info.id, cell.config["model"] == "exact:gaussian"): cell.obstacle for cell in plan(captured)}
    assert found.pop(("bs32", False)) == "cannot be captured: its steps depend on the data"
    assert set(found.values()) == {""} and len(found) == 3
    with pytest.raises(
        UsageError,
        match="bs32 cannot be captured, its steps depend on the data: leave out bs32 or capture",
    ):
        suite.select([], ["bs32"], [], execution=Execution(capture=True))


def test_what_is_no_precision_is_refused(suite: Suite) -> None:
    with pytest.raises(UsageError, match="unknown precision 'bfloat61': did you mean bfloat16"):
        Execution().under(autocast="bfloat61")
    assert Execution(capture=True).under(autocast="float16") == Execution(capture=True, autocast="float16")
    with pytest.raises(UsageError, match="autocast narrows float32, got dtype float64"):
        suite.model_copy(update={"dtype": "float64", "execution": Execution(autocast="bfloat16")}).check()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_a_recorded_solve_ends_where_the_loop_does() -> None:
    model, info = seen().to(torch.float32, "cuda"), find("dpmpp-2m")
    p, x = model.process, torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1)).cuda()
    grid = make_grid(info.grid, p, 4, p.t_max, p.t_min)
    with torch.inference_mode():
        expected = solve(model, info, grid, x).x
        replay = recorded(lambda: solve(model, info, grid, x))
        for _ in range(2):
            assert replay().finite
            np.testing.assert_allclose(replay().x.cpu(), expected.cpu(), rtol=1e-6)

"""A suite's device: everything in the loop lives there, shown on a pretended device that refuses what a GPU would refuse."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from scorebench.bench.cells import cells_of, plan
from scorebench.bench.measure import in_double
from scorebench.bench.placement import check_device, on_host
from scorebench.bench.runner import run_suite
from scorebench.bench.store import Store
from scorebench.bench.suite import Likelihood, ModelEntry, RoundTrip, SolverEntry, Suite, Timing, load_suite
from scorebench.bench.timing import HOST, clock
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.network import NetworkModel
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise

PRETENDED = "meta"  # a device that torch knows everywhere
INDEXED = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default)  # which take indices of the host
MOVES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
SLOW = ("gotta-go-fast",)  # thousands of draws


class Away(Tensor):
    """A tensor on the pretended device: its numbers are those of `inner`, which the host must not touch."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Away":
        away = Tensor._make_wrapper_subclass(cls, inner.shape, inner.stride(), dtype=inner.dtype, device=PRETENDED)  # type: ignore[attr-defined]
        away.inner = inner
        return away  # type: ignore[no-any-return]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class Pretence(TorchDispatchMode):
    """While it is on, what is made on the pretended device has numbers."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = (*args, *(kwargs or {}).values())
        concerned = Away in types or any(isinstance(a, torch.device) and a.type == PRETENDED for a in named)
        return computed(func, args, kwargs or {}) if concerned else func(*args, **(kwargs or {}))


def computed(func: Any, args: Any, kwargs: Any) -> Any:
    """One operation, by the rules of a GPU: of the host's tensors it takes numbers, and indices, and what is copied."""
    leaves = tree_flatten((args, kwargs))[0]
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    away = any(isinstance(tensor, Away) for tensor in tensors)
    strangers = [t for t in tensors if not isinstance(t, Away) and t.ndim > 0]
    if func in INDEXED:
        strangers = [t for t in (args[0], *args[2:3]) if not isinstance(t, Away) and t.ndim > 0]
        assert away == isinstance(args[0], Away), "an index of the device into a tensor of the host"
    if away and strangers and func not in MOVES:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, but found two")
    place = next((leaf.type for leaf in leaves if isinstance(leaf, torch.device)), None)
    inside, named = tree_map_only(Away, lambda a: a.inner, tree_map_only(torch.device, lambda _: HOST, (args, kwargs)))
    found = func(*inside, **named)
    if func._schema.is_mutable:
        return args[0]
    if place == PRETENDED or (place is None and away):
        return tree_map_only(Tensor, Away, found)
    return found.clone() if place is not None and away else found


NETWORK = """
import torch
from torch import nn

from scorebench.reference_models.network import NetworkModel
from scorebench.reference_models.parameterisation import Parameterisation
from scorebench.reference_models.process import make_process


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside, self.outside = nn.Linear(3, 8), nn.Linear(8, 2)
        for k, weights in enumerate(self.parameters()):
            nn.init.normal_(weights, generator=torch.Generator().manual_seed(k))

    def forward(self, x, c_noise, return_dict=False):
        return (self.outside(torch.tanh(self.inside(torch.cat([x, c_noise[:, None] / 999], 1)))),)


def small():
    return NetworkModel("small", Small(), make_process("vp"), Parameterisation("epsilon"), (2,), "0123abcd")
"""


SUITE = Suite(
    name="placed",
    budgets=[4],
    models=[ModelEntry(address="exact:gaussian", n=4)],
    solvers=[
        SolverEntry(id="exp-ab2"),
        SolverEntry(id="exp-ab2", grid="optimise?latents=8&teacher=12"),
        SolverEntry(id="ddim", options={"eta": 0.5}),
        SolverEntry(id="bs32", ladder=[{"rtol": 1e-1, "atol": 1e-1}]),
    ],
    noise_seeds=2,
    metrics=["error_median", "time_ms"],
    likelihood=Likelihood(models=["exact:gaussian"], images=4),
    round_trip=RoundTrip(models=["exact:gaussian"], images=4),
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Of a network, timed too; no solver that is compared with a reference solution, which takes hundreds of calls."""
    file = tmp_path_factory.mktemp("model") / "small.py"
    file.write_text(NETWORK)
    address = f"python:{file}:small"
    change = {
        "models": [ModelEntry(address=address, n=4)],
        "solvers": SUITE.solvers[2:3],
        "likelihood": None,
        "round_trip": None,
        "timing": Timing(models=[address], batches=[2], rounds=1),
    }
    return SUITE.model_copy(update=change)


@pytest.fixture
def away() -> Iterator[None]:
    """The pretended device is there, and networks move to it as a whole."""
    with Pretence(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("scorebench.bench.runner.check_device", lambda name: None)
        patch.setattr("scorebench.bench.timing.warm_up", lambda jobs: None)
        patch.setattr("torch.__future__.get_overwrite_module_params_on_conversion", lambda: True)
        yield


@pytest.mark.parametrize("of", ["exact", "network"])
def test_a_suite_on_a_device_gives_what_it_gives_on_the_host(
    of: str, network: Suite, away: None, tmp_path: Path
) -> None:
    """Every pass, adaptive and stochastic methods, an optimised grid; the cells have keys of their own."""
    suite, here, there = SUITE if of == "exact" else network, Store(tmp_path / "here"), Store(tmp_path / "there")
    moved = suite.model_copy(update={"device": PRETENDED})
    run_suite(suite, here)
    assert run_suite(moved, there).failed == 0, [there.cell(cell.key)["message"] for cell in plan(moved)]
    for one, other in zip(plan(suite), plan(moved), strict=True):
        assert one.key != other.key and "device" not in one.config
        kept = there.cell(other.key)
        assert kept["provenance"]["device"] == PRETENDED and kept["status"] == here.cell(one.key)["status"] == "ok"
        if not one.timed:
            a, b = here.arrays(one.key), there.arrays(other.key)
            assert all(np.array_equal(a[name], b[name]) for name in a) and set(a) == set(b)


def test_references_are_made_in_double_precision_where_the_network_is(network: Suite, away: None) -> None:
    moved = network.model_copy(update={"device": PRETENDED})
    cell = cells_of(moved, Store(Path("none")))[0]
    assert isinstance(cell.model, NetworkModel)

    def found() -> Any:
        parameter = next(cell.model.network.parameters())
        return parameter.dtype, parameter.device.type

    assert found() == (torch.float32, PRETENDED)
    assert in_double(cell, found) == (torch.float64, PRETENDED) and found() == (torch.float32, PRETENDED)
    with on_host(cell.model, cell.dtype, cell.device):
        assert found() == (torch.float32, "cpu")
    assert found() == (torch.float32, PRETENDED)


def test_the_pretended_device_refuses_what_a_gpu_refuses(network: Suite) -> None:
    model, info = load_model("exact:gmm"), SOLVERS["ddim"]
    grid = make_grid("logsnr", model.process, 3, model.process.t_max, model.process.t_min)
    with Pretence():
        x, wrong = torch.ones(4, 2, device=PRETENDED), Noise(0, torch.arange(4), (2,), torch.float32)
        with pytest.raises(RuntimeError, match="found two"):
            solve(model, info, grid, x, options={"eta": 0.5}, noise=wrong)
        with pytest.raises(RuntimeError):
            x.numpy()
        left_behind = load_model(network.models[0].address)
        with pytest.raises(RuntimeError, match="found two"):
            left_behind.denoise(x, torch.tensor(0.5, dtype=torch.float64))


@pytest.mark.parametrize("id", {info.method.__module__: id for id, info in SOLVERS.items() if id not in SLOW}.values())
def test_a_solver_of_every_file_stays_on_its_device(id: str) -> None:
    model, info = load_model("exact:gaussian"), SOLVERS[id]
    p, options = model.process, {"rtol": 0.5, "atol": 0.5} if info.adaptive else {}
    last = p.t_min if not info.adaptive else 0.5
    grid = make_grid("logsnr", p, max(info.least_steps, 3), p.t_max, last)
    ends = []
    for device in ("cpu", PRETENDED):
        with Pretence():
            noise = Noise(0, torch.arange(2), model.shape, torch.float32, device)
            x = (noise.latents() * p.prior_std).to(device)
            ends.append(solve(model, info, grid, x, options=options, noise=noise).x)
    assert isinstance(ends[1], Away) and torch.equal(ends[0], ends[1].inner)


def test_the_clock_of_the_host_has_no_device_time() -> None:
    readings, result = clock(lambda: 7)
    assert len(readings) == 3 and min(readings) >= 0 and result == 7


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_missing_device_is_one_line_before_anything_is_written(tmp_path: Path) -> None:
    moved = load_suite("quick").select([], [], [], device="cuda")
    with pytest.raises(UsageError, match="sees no GPU here") as caught:
        run_suite(moved, Store(tmp_path / "store"))
    assert "\n" not in str(caught.value) and not (tmp_path / "store").exists()
    with pytest.raises(UsageError, match="unknown device 'cud': did you mean cuda"):
        load_suite("quick").select([], [], [], device="cud")
    check_device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_the_time_between_events_is_kept(network: Suite, tmp_path: Path) -> None:
    moved, store = network.model_copy(update={"device": "cuda"}), Store(tmp_path)
    assert run_suite(moved, store).failed == 0
    timed = [cell for cell in plan(moved) if cell.timed]
    assert all(0 < store.arrays(c.key)["device_ms"].min() for c in timed) and all("gpu" in c.config for c in timed)

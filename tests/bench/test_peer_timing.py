"""Times beside other libraries: what is compared computes the same, and the table is put together right."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from scorebench.bench import peers_adaptive, peers_network, peers_overhead, peers_sde, peers_update
from scorebench.bench.peer_timing import Row, figure, main, over, rounds, write
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.network import NetworkModel
from scorebench.reference_models.parameterisation import Parameterisation
from scorebench.reference_models.process import VP
from scorebench.solvers.facts import SOLVERS


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # diffusers hands tensors to numpy in the old way
@pytest.mark.parametrize("algorithm", peers_overhead.ALGORITHMS, ids=lambda algorithm: algorithm.name)
def test_loops_of_all_libraries_end_at_the_same_point(algorithm: peers_overhead.Algorithm) -> None:
    setting = peers_overhead.Setting(peers_overhead.Tenth(), (1, 4, 4), 2, steps=5)
    makers = setting.makers(algorithm)
    ours = makers["scorebench"]()()
    for name in makers.keys() - {"network"}:
        for _ in range(2):  # a loop can be run again
            torch.testing.assert_close(makers[name]()(), ours, rtol=1e-5, atol=1e-5 * float(ours.abs().max()), msg=name)


def test_torchsde_ends_where_euler_maruyama_does() -> None:
    pytest.importorskip("torchsde", reason="torchsde is not installed")
    makers = peers_sde.makers(peers_overhead.Setting(peers_overhead.Tenth(), (1, 4, 4), 2, grid="time_uniform"))
    ours = makers["scorebench"]()()
    for _ in range(2):  # a loop can be run again
        torch.testing.assert_close(makers["torchsde"]()(), ours, rtol=1e-5, atol=1e-5 * float(ours.abs().max()))


def test_every_way_to_update_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_update, "SHAPE", (2, 3, 8, 8))
    given = peers_update.contenders()
    ours = given["scorebench"][0]()
    for name in ("scorebench eager", "plain expression"):
        torch.testing.assert_close(given[name][0](), ours, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(given["plain copy"][0](), given["plain clone"][0]())


@pytest.mark.parametrize("name", sorted(peers_adaptive.contenders()))
def test_integrators_reach_the_truth(name: str) -> None:
    model = load_model("exact:gaussian")
    p = model.process
    x = torch.randn(
        peers_adaptive.SAMPLES, *model.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    grid = torch.tensor([p.t_max, p.t_min], dtype=torch.float64)
    truth = model.flow_map(x, grid[0], grid[1])  # type: ignore[attr-defined]
    calls, error, _ = peers_adaptive.once(model, peers_adaptive.PEERS[name], x, grid, truth, 1e-5)
    assert error < 1e-3
    assert calls > 20


def test_time_inside_a_network_is_told_from_time_outside() -> None:
    class Slow(torch.nn.Module):
        def forward(self, x: torch.Tensor, c_noise: torch.Tensor, **options: object) -> tuple[torch.Tensor]:
            for _ in range(200):
                torch.ones(100, 100) @ torch.ones(100, 100)
            return (0.1 * x,)

    clocked = peers_network.Clocked(Slow())
    model = NetworkModel("slow", clocked, VP(), Parameterisation("epsilon"), (4,), "")
    assert 0 < peers_network.share(model, clocked, SOLVERS["ddim"]) < 100
    assert clocked.seconds > 0


@pytest.mark.parametrize("there", [True, False])
def test_a_network_that_is_not_there_has_random_weights(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_network, "shipped", lambda: ["digits-vp", "fashion-vp"] if there else ["digits-vp"])
    monkeypatch.setattr(peers_network, "load_model", lambda name: load_model("digits-vp"))
    digits, fashion = peers_network.models().items()
    assert (digits[0], fashion[0]) == ("digits-vp", "fashion-vp" if there else "fashion-vp, random")
    assert fashion[1][0].shape == ((1, 8, 8) if there else (1, 28, 28))


def test_rounds_call_every_contender_as_often() -> None:
    calls = {"one": 0, "two": 0}

    def maker(name: str):  # type: ignore[no-untyped-def]
        def work() -> None:
            calls[name] += 1

        return lambda: work

    spent = rounds({name: maker(name) for name in calls}, 3, repeats=2)
    assert calls == {"one": 10, "two": 10}
    assert spent["one"].shape == (3,)
    assert over(np.array([2.0, 9.0, 4.0]), np.array([1.0, 3.0, 2.0])) == 2.0


def test_a_table_is_put_in_place_of_its_older_rows(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write(
        [
            Row("update", "a", "plain copy", "moved", "GB/s", 1, 1, 1),
            Row("exact", "b", "products", "time", "ms", 2, 2, 2),
        ],
        path,
    )
    write([figure("update", "c", "scorebench", "moved", "GB/s", np.array([1.0, 2.0, 3.0]), ratio=0.5)], path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [(row["table"], row["case"], row["median"]) for row in rows] == [("update", "c", "2"), ("exact", "b", "2")]
    assert rows[0]["version"] and rows[1]["torch"] == torch.__version__


def test_an_unknown_table_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "choose among overhead" in capsys.readouterr().err

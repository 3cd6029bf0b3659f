"""Suites with factors: every combination once, endings that are what they say, and solvers of another suite."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from scorebench.bench.cells import plan
from scorebench.bench.endings import euler_at_final
from scorebench.bench.references import latents, solution
from scorebench.bench.rows import load_rows
from scorebench.bench.runner import run_suite
from scorebench.bench.store import Store
from scorebench.bench.suite import Suite, load_suite
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid

CROSSED = """
name = "crossed"
budgets = [4]
metrics = ["error_median"]
models = [{ address = "exact:gaussian", n = 48 }]
solvers = [{ id = "ddim", levels = { order = "1" } }, { id = "exp-ab2", levels = { order = "2" } }]

[factors.grid]
even = { grid = "logsnr" }
rho = { grid = "karras?rho=5" }

[factors.end]
own = {}
euler = { euler_at_final = true }
denoise = { denoise = true }
"""


def written(folder: Path, text: str) -> str:
    path = folder / "crossed.toml"
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return load_suite(written(tmp_path_factory.mktemp("suite"), CROSSED))


def test_every_combination_is_one_cell(suite: Suite) -> None:
    again = suite.select([], [], [4])  # through the same checks as what the command line narrows
    for one in (suite, again):
        cells = plan(one)
        assert len({tuple(cell.levels) for cell in cells}) == len({cell.key for cell in cells}) == 12
        rho = [cell for cell in cells if ("grid", "rho") in cell.levels]
        assert {cell.config["grid"] for cell in rho} == {"karras?rho=5"}
        ended = Counter((cell.config["denoise"], str(cell.config.get("ending", {}))) for cell in cells)
        assert ended == {(False, "{}"): 4, (False, "{'euler_at_final': True}"): 4, (True, "{'denoise': True}"): 4}
        assert {cell.steps for cell in cells if cell.config["denoise"]} == {3}


def test_errors_are_those_to_the_solution_with_the_same_ending(suite: Suite, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert run_suite(suite, store).failed == 0
    model = load_model("exact:gaussian")
    for cell in plan(suite):
        truth = solution(model, 48, 0, None, denoise=cell.config["denoise"]).solution
        grid = cell.grid()
        end = solve(model, cell.info, grid, latents(model, 48, 0, torch.float32), denoise=cell.config["denoise"])
        expected = np.sqrt(np.square(end.x.double().numpy() - truth).mean(1))
        arrays = store.arrays(cell.key)
        np.testing.assert_allclose(arrays["error"], expected, rtol=1e-4, atol=1e-7)
        assert set(arrays["nfe"].flatten()) == {4}
    rows = load_rows(store)
    assert len(set(zip(rows["solver"], rows["grid"], rows["options"], strict=True))) == 12
    kept = store.suites()[0]["levels"]
    assert kept == {cell.key: dict(cell.levels) for cell in plan(suite)}


def test_the_denoised_solution_is_the_denoiser_at_the_end() -> None:
    model = load_model("exact:gmm?t_min=0.1")  # ends earlier, where there is much to denoise and little to solve
    x = torch.from_numpy(solution(model, 2, 0, None).solution)
    ended = model.denoise(x, torch.tensor(0.1, dtype=torch.float64))
    np.testing.assert_allclose(solution(model, 2, 0, None, denoise=True).solution, ended.numpy(), atol=1e-6)
    assert float((ended - x).abs().max()) > 1e-3


def test_euler_at_final_is_lower_order_final_of_a_two_step_method() -> None:
    model, info = load_model("exact:gmm"), SOLVERS["dpmpp-2m"]
    p, x = model.process, latents(model, 6, 0, torch.float64)
    for steps in (1, 2, 6):
        grid = make_grid("karras", p, steps, p.t_max, p.t_min)
        ours = solve(model, euler_at_final(info), grid, x)
        theirs = solve(model, info, grid, x, options={"lower_order_final": True})
        torch.testing.assert_close(ours.x, theirs.x, rtol=0, atol=1e-12)  # round-off of DDIM in ε and in x0
        assert ours.count.calls == theirs.count.calls == steps
    assert not torch.allclose(ours.x, solve(model, info, grid, x).x, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"exp-ab2", levels = { order = "2" }', '"exp-ab2"'), "crossed has factors: exp-ab2 has no level of order"),
        (('order = "2"', 'order = "1"'), "has factors: it needs one solver with order = 1, got 2"),
        (('order = "2"', 'order = "2", prediction = "x0"'), "crossed has factors: ddim has no level of prediction"),
        (("[factors.grid]", "[factors.order]"), "order is a factor and a level of its solvers at once"),
        (('"exp-ab2"', '"heun"'), "euler_at_final needs a solver of one network call a step, which heun is not"),
        (("karras?rho=5", "karas"), "unknown grid 'karas': did you mean karras"),
        (("denoise = true", "denois = true"), "unknown key 'factors.end.denoise.denois', did you mean 'denoise'"),
        (("budgets", 'solvers_of = "standrd"\nbudgets'), "unknown suite in solvers_of .*'standrd': did you mean standard"),
        (("budgets", 'device = "cud"\nbudgets'), "device: input should be 'cpu' or 'cuda', got 'cud'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_suite(written(tmp_path, CROSSED.replace(*change)))
    assert "\n" not in str(caught.value)


def test_a_suite_that_compares_grids_takes_no_other(suite: Suite) -> None:
    with pytest.raises(UsageError, match="compares grids itself: leave --grid out"):
        suite.select([], [], [], ["cosine"])


def test_the_solvers_of_another_suite_come_before_its_own(tmp_path: Path) -> None:
    quick = load_suite("quick").solvers
    text = 'name = "mine"\nbudgets = [4]\nmodels = [{ address = "exact:gmm" }]\nsolvers_of = "quick"\n'
    assert load_suite(written(tmp_path, text)).solvers == quick
    more = load_suite(written(tmp_path, text + 'solvers = [{ id = "lms" }]\n')).solvers
    assert more[:-1] == quick and more[-1].id == "lms"
    assert load_suite("full").solvers == load_suite("standard").solvers

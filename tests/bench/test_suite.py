"""Suites: the shipped ones are valid, and what is wrong in the user's is said in one line."""

from pathlib import Path

import pytest

from scorebench.bench.cells import plan
from scorebench.bench.suite import Suite, load_suite, shipped_suites
from scorebench.bench.trials import SUITE as OF_TRIALS
from scorebench.reference_models.errors import UsageError
from scorebench.solvers.registry import SOLVERS

GOOD = """
name = "mine"
budgets = [4]
models = [{ address = "exact:gmm", n = 40 }]
solvers = [{ id = "DPM++ 2M" }, { id = "pc" }]
"""


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def written(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return str(path)

    return written


@pytest.mark.parametrize("name", shipped_suites())
def test_shipped_suites_plan_unique_cells(name: str) -> None:
    suite = load_suite(name)
    cells = plan(suite)
    keys = [cell.key for cell in cells]
    assert len(keys) == len(set(keys)) > 100
    for cell in (cell for cell in cells if cell.config["pass"] == "sample"):
        random = cell.info.stochastic(cell.config["options"])
        assert cell.config.get("noise_seeds") == (suite.noise_seeds if random else None)
        assert cell.config["kind"] == ("sde" if random else "ode")


def test_only_the_quick_suites_have_fewer_than_five_noise_seeds() -> None:
    assert {name for name in shipped_suites() if load_suite(name).noise_seeds < 5} == {"gate", "quick"}


def test_the_standard_suite_leaves_no_solver_out() -> None:
    assert {entry.resolved().id for entry in load_suite("standard").solvers} == set(SOLVERS)


def test_the_suite_of_trials_has_every_kind_of_cell(write) -> None:  # type: ignore[no-untyped-def]
    kinds = {(c.config["pass"], c.config["kind"]) for c in plan(load_suite(write(OF_TRIALS)))}
    assert kinds == {("sample", "ode"), ("sample", "sde"), ("likelihood", "ode"), ("time", "ode"), ("time", "sde")}


def test_aliases_are_resolved_and_budgets_counted(write) -> None:  # type: ignore[no-untyped-def]
    cells = plan(load_suite(write(GOOD)))
    assert [(c.info.id, c.steps, c.config["kind"]) for c in cells] == [("dpmpp-2m", 4, "ode"), ("pc", 2, "sde")]


def test_a_budget_holds_the_final_denoise_and_the_last_node() -> None:
    suite = load_suite("quick").select(["digits-vp"], ["heun"], [10])
    steps = {cell.config["pass"]: (cell.steps, cell.calls_at_end) for cell in plan(suite)}
    assert steps == {"sample": (4, 1), "likelihood": (4, 1), "time": (4, 1)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"pc"', '"pcc"'), "unknown solver 'pcc': did you mean pc"),
        (("exact:gmm", "exact:gm"), "unknown model 'exact:gm': did you mean exact:gmm"),
        (("budgets = [4]", "budgets = ['4']"), "budgets.0: input should be a valid integer, got '4'"),
        (("budgets = [4]", "budgets = [0]"), "greater than 0, got 0"),
        (("budgets = [4]", "budgets = [4]\nnoise_seeds = 0"), "noise_seeds: input should be greater than 0, got 0"),
        (("budgets", "budgts"), "budgets: field required|unknown key 'budgts', did you mean 'budgets'"),
        (('id = "pc"', 'id = "pc", grd = "karras"'), "unknown key .*grd.*did you mean 'grid'"),
        (('id = "pc"', 'id = "pc", grid = "karas"'), "unknown grid 'karas': did you mean karras"),
        (('id = "pc"', 'id = "pc", options = { srn = 0.1 }'), "unknown option of solver pc 'srn': did you mean snr"),
        (('id = "pc"', 'id = "pc", options = { snr = true }'), "option snr is a float, got True"),
        (('id = "pc"', 'id = "rk45"'), "rk45 is adaptive, give it a ladder"),
        (('id = "pc"', 'id = "pc", ladder = [{ snr = 0.1 }]'), "pc has fixed steps"),
        (("budgets", 'metrics = ["fidd"]\nbudgets'), "unknown metric in suite mine 'fidd': did you mean fid"),
        (("name =", "name ="), None),
        (("budgets = [4]", "budgets = [4"), "mine.toml"),
        (
            ("n = 40", 'n = 40, solvers_of = "quik"'),
            "unknown suite in solvers_of of model exact:gmm 'quik': did you mean quick",
        ),
        (("n = 40", "n = 40, budgets = [4, 5]"), "budget 5 of model exact:gmm is none of the suite's, 4"),
        (('name = "mine"', 'name = "mine"\nlikelihood = { models = ["exact:gauss"] }'), "unknown model in .likelihood"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(write, change: tuple[str, str], message: str | None) -> None:  # type: ignore[no-untyped-def]
    path = write(GOOD.replace(*change))
    if message is None:
        load_suite(path)
        return
    with pytest.raises(UsageError, match=message) as caught:
        plan(load_suite(path))
    assert "\n" not in str(caught.value)


def test_unknown_suites_are_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean quick"):
        load_suite("quik")
    with pytest.raises(UsageError, match="no such file"):
        load_suite("nowhere.toml")


def test_the_time_pass_may_have_budgets_of_its_own() -> None:
    quick = load_suite("quick")
    timed = {c.config["budget"] for c in plan(quick) if c.config["pass"] == "time"}
    assert timed == {5, 10, 20, 35, None}
    chosen = plan(quick.select(["digits-vp"], ["ddim"], [8]))
    assert [c.config["budget"] for c in chosen if c.config["pass"] == "time"] == [8, 8]  # ddim and ddim (eta=1)


def test_a_costly_model_may_have_fewer_solvers_and_budgets(write) -> None:  # type: ignore[no-untyped-def]
    two = '{ address = "exact:gaussian" }, { address = "exact:gmm", solvers_of = "quick", budgets = [4] }'
    text = GOOD.replace('{ address = "exact:gmm", n = 40 }', two).replace("[4]\n", "[4, 9]\n").replace('"pc"', '"lms"')
    suite = load_suite(write(text))

    def planned(suite: Suite) -> list[tuple[str, str, int]]:
        return [(c.config["model"].removeprefix("exact:"), c.info.id, c.config["budget"]) for c in plan(suite)]

    whole = [("gaussian", id, budget) for id in ("dpmpp-2m", "lms") for budget in (4, 9)]
    assert planned(suite) == [*whole, ("gmm", "dpmpp-2m", 4)]
    assert planned(suite.select(["exact:gmm"], ["lms"], [9])) == [("gmm", "lms", 9)]  # what is asked for is run
    assert planned(suite.select(["exact:gmm"], [], [7])) == [("gmm", "dpmpp-2m", 7)]


def test_guidance_spends_the_budget_twice() -> None:
    """Both halves count, so 10 evaluations are 5 calls."""
    suite = Suite.model_validate(
        {
            "name": "s",
            "budgets": [10],
            "models": [{"address": "exact:gmm"}],
            "solvers": [{"id": "ddim"}, {"id": "heun"}],
        }
    )
    cells = plan(suite)
    assert [(cell.steps, cell.needed) for cell in cells] == [(10, 1), (5, 2)]
    for cell in cells:
        cell.model.evaluations_per_call = 2  # type: ignore[attr-defined]
    assert [(cell.steps, cell.needed) for cell in cells] == [(5, 2), (2, 4)]


def test_one_combination_that_cannot_be_is_an_error() -> None:
    with pytest.raises(UsageError, match="dpm-solver-3 needs 4 network calls on digits-vp, got budget=3"):
        load_suite("quick").select(["digits-vp"], ["dpm-solver-3"], [3])


def test_the_command_line_times_models_that_a_suite_does_not_and_leaves_times_out() -> None:
    standard = load_suite("standard")

    def timed(suite: Suite) -> set[str]:
        return {cell.config["model"] for cell in plan(suite) if cell.config["pass"] == "time"}

    assert timed(standard.select(["exact:gmm"], ["ddim"], [10])) == set()
    assert timed(standard.select(["exact:gmm"], ["ddim"], [10], timed=True)) == {"exact:gmm"}
    assert timed(standard.select([], ["ddim"], [10])) == {"digits-vp"}
    assert timed(standard.select([], ["ddim"], [10], timed=False)) == set()

"""The chooser: what fits, who is best, who ties, and configurations that run."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scorebench.bench import configurations
from scorebench.bench.cells import plan
from scorebench.bench.halving import FIRST, candidates, halve, seconds_of
from scorebench.bench.runner import run_suite
from scorebench.bench.snippets import scheduler_by_facts
from scorebench.bench.store import Store
from scorebench.bench.suite import Suite, load_suite
from scorebench.cli import main
from scorebench.reference_models.errors import UsageError
from scorebench.reports.choose import Answer, Question, choose
from scorebench.reports.results import load
from scorebench.reports.wording import count, with_interval
from scorebench.solvers.aliases import diffusers_of
from scorebench.solvers.facts import SOLVERS


def ask(store: Path, limit: str, amount: float, model: str = "digits-vp", **more: Any) -> Answer:
    return choose(load(store), Question(model, limit, amount, **more))


def test_the_best_at_a_number_of_calls_is_the_smallest_error_that_fits(full_store: Path) -> None:
    answer = ask(full_store, "nfe", 20)
    frame = load(full_store).frame.query("model == 'digits-vp' and metric == 'error_median' and nfe_max <= 20")
    assert answer.best.value == frame["value"].min() and answer.best.standing == "best"
    assert all(choice.nfe <= 20 for choice in answer.choices)
    assert len({choice.label for choice in answer.choices}) == len(answer.choices)


def test_between_two_measured_budgets_the_lower_one_answers(full_store: Path) -> None:
    between, below = (
        {(c.label, c.value) for c in ask(full_store, "nfe", calls).choices if c.budget > 0} for calls in (13, 10)
    )
    assert between == below and between != {
        (c.label, c.value) for c in ask(full_store, "nfe", 15).choices if c.budget > 0
    }


def test_ties_are_named_and_what_is_worse_is_worse_beyond_doubt(build: Callable[..., Any]) -> None:
    made, rng = build(400), np.random.default_rng(0)
    errors = rng.lognormal(-3, 0.5, 400)
    made.errors("digits-vp", "ddim", 10, errors)
    made.errors("digits-vp", "exp-ab2", 10, errors * rng.lognormal(0.0, 0.2, 400))
    made.errors("digits-vp", "heun", 10, errors * rng.lognormal(0.3, 0.2, 400))
    answer = ask(made.finish(), "nfe", 10)
    standing = {choice.label: choice.standing for choice in answer.choices}
    assert standing["heun"] == "worse" and sorted((standing["ddim"], standing["exp-ab2"])) == ["best", "tie"]
    assert len(answer.ties) == 1 and any("ties with it" in reason for reason in answer.why)


def test_a_quality_is_reached_by_an_interval_and_in_the_fewest_calls(full_store: Path) -> None:
    answer = ask(full_store, "quality", 0.05)
    frame = load(full_store).frame.query("model == 'digits-vp' and metric == 'error_median' and high <= 0.05")
    assert answer.best.nfe == frame["nfe_mean"].min()
    assert all(choice.high <= 0.05 for choice in answer.choices)
    assert [c.nfe for c in answer.choices] == sorted(c.nfe for c in answer.choices)
    assert all(c.nfe == answer.best.nfe for c in answer.ties)
    value = with_interval(answer.best.value, answer.best.low, answer.best.high)
    assert answer.why[:2] == [
        f"{len(answer.choices)} entrants reach error of at most 0.0500.",
        f"{answer.best.label} has the fewest calls, {count(answer.best.nfe)}, with {value}.",
    ]


def test_milliseconds_rank_what_was_timed(full_store: Path) -> None:
    answer = ask(full_store, "ms", 120.0)
    assert all(choice.ms <= 120 for choice in answer.choices)
    with pytest.raises(UsageError, match="no times of gmm-2d"):
        ask(full_store, "ms", 120.0, model="gmm-2d")


def test_a_distance_lets_stochastic_solvers_in_unless_they_are_left_out(full_store: Path) -> None:
    assert "euler-maruyama" in {c.label for c in ask(full_store, "nfe", 20, by="fid").choices}
    assert "euler-maruyama" not in {c.label for c in ask(full_store, "nfe", 20, by="fid", deterministic=True).choices}


@pytest.mark.parametrize(
    ("limit", "amount", "more", "message"),
    [
        ("nfe", 1, {}, "nothing fits at most 1 network calls; the fewest calls measured are"),
        ("quality", 1e-9, {}, "nothing reaches error of at most 1.00e-9; the best measured is"),
        (
            "nfe",
            10,
            {"model": "digits-pv"},
            "did you mean digits-vp.*scorebench run standard --store .* --model digits-pv --budget 10`",
        ),
        ("nfe", 10, {"model": "gmm-2d", "by": "likelihood"}, "the store has no likelihood of gmm-2d: measure it"),
        ("nfe", 10, {"by": "fud"}, "did you mean fid"),
        ("ms", 10, {"by": "round-trip"}, "round-trip is not timed: give --nfe or --quality"),
    ],
)
def test_what_cannot_be_answered_says_what_could(
    full_store: Path, limit: str, amount: float, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ask(full_store, limit, amount, **more)


@pytest.mark.parametrize("model", ["exact:gmm", "fashion-vp", "exact:gmm?process=edm", "digits-vp"])
@pytest.mark.parametrize(
    ("by", "limit", "lacks"),
    [
        ("error", "nfe", "sample"),
        ("fid", "quality", "sample"),
        ("likelihood", "nfe", "likelihood"),
        ("round-trip", "nfe", "round-trip"),
        ("error", "ms", "time"),
        ("likelihood", "ms", "likelihood-time"),
    ],
)
def test_the_command_that_is_named_measures_what_is_lacking(
    build: Callable[..., Any], model: str, by: str, limit: str, lacks: str
) -> None:
    made = build()
    if limit == "ms":
        record = made.errors if by == "error" else made.likelihood
        record(model, "ddim", 10, np.ones(made.n))
    else:
        made.cell(model, "ddim", 10)
    root = made.finish()
    with pytest.raises(UsageError, match="the store has no") as found:
        ask(root, limit, 20, model=model, by=by)
    words = shlex.split(str(found.value).split("`")[1])
    assert words[:2] == ["scorebench", "run"] and words[words.index("--store") + 1] == str(root)
    budgets = [int(words[words.index("--budget") + 1])] if "--budget" in words else []
    named = words[words.index("--model") + 1]
    suite = load_suite(words[2]).select([named], [], budgets, timed=True if "--timed" in words else None)
    cells = [cell.config for cell in plan(suite)]
    assert any((config["pass"], config["model"]) == (lacks, model) for config in cells)


@pytest.mark.parametrize(("solver", "grid"), [("dpmpp-2m", "karras"), ("heun", "time_uniform"), ("unipc-3", "logsnr")])
def test_the_python_configuration_runs(solver: str, grid: str) -> None:
    found: dict[str, Any] = {}
    exec(configurations.as_python("digits-vp", solver, {}, grid, 9), found)
    assert found["samples"].shape == (16, 1, 8, 8) and bool(found["samples"].isfinite().all())
    assert found["grid"].shape == (5 if solver == "heun" else 9,)


@pytest.mark.parametrize(
    ("solver", "options", "grid", "budget"),
    [
        ("ddim", {"eta": 0.5}, "karras", 10),
        ("rk45", {"rtol": 0.01, "atol": 0.02}, "adaptive", None),
        ("heun", {}, "t:1,0.5,0.001", 5),
    ],
)
def test_the_suite_to_paste_is_valid(
    solver: str, options: dict[str, Any], grid: str, budget: int | None, tmp_path: Path
) -> None:
    import tomllib

    text = configurations.as_toml('a "model"', solver, options, grid, budget)
    suite = Suite.model_validate(tomllib.loads(text.replace('a \\"model\\"', "exact:gmm")))
    suite.check()
    assert suite.solvers[0].id == solver


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_scheduler_to_paste_is_made_from_any_configuration() -> None:
    from types import SimpleNamespace

    from diffusers import DDPMScheduler

    for solver in ("dpmpp-2m", "unipc-2", "exp-ab3", "ddim"):
        text = configurations.as_diffusers("digits-vp", solver, {}, "karras" if solver != "ddim" else "leading", 10)
        found: dict[str, Any] = {"pipeline": SimpleNamespace(scheduler=DDPMScheduler())}
        exec(text, found)
        scheduler = found["pipeline"].scheduler
        scheduler.set_timesteps(found["num_inference_steps"])
        assert found["num_inference_steps"] == 9
        assert solver == "ddim" or scheduler.config.use_karras_sigmas
    with pytest.raises(UsageError, match="no scheduler of diffusers is deis-tab3"):
        configurations.as_diffusers("digits-vp", "deis-tab3", {}, "time_quadratic", 10)


@pytest.mark.parametrize(("solver", "grid"), [("dpmpp-2m", "karras"), ("heun", "karras"), ("unipc-2", "logsnr")])
def test_the_facts_of_a_store_give_the_same_scheduler(solver: str, grid: str) -> None:
    facts = SOLVERS[solver].facts() | {"diffusers": diffusers_of(SOLVERS[solver])}
    model = {"data": "digits", "evaluations_per_call": 1}
    written = configurations.as_diffusers("digits-vp", solver, {}, grid, 10)
    assert scheduler_by_facts(model, facts, {}, grid, 10) == written
    assert scheduler_by_facts(model, facts, {"eta": 0.5}, grid, 10) == ""
    assert scheduler_by_facts(model, SOLVERS[solver].facts(), {}, grid, 10) == ""


def test_halving_keeps_the_better_quarter_on_four_times_as_many_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scorebench.bench.halving.GRIDS", ())
    monkeypatch.setattr("scorebench.bench.halving.run_watched", run_suite)  # no process of its own
    few = {id: SOLVERS[id] for id in ("euler", "ddim", "dpmpp-2m", "exp-ab3", "heun-t")}
    monkeypatch.setattr("scorebench.bench.halving.SOLVERS", few)

    def rank(store: Store) -> list[tuple[str, str]]:
        return [(c.solver, c.grid) for c in ask(store.root, "nfe", 10, model="exact:gaussian").choices]

    rounds = list(halve("exact:gaussian", [10], False, True, 600.0, Store(tmp_path), rank, lambda _: None))
    assert [(r.n, len(r.candidates)) for r in rounds] == [(FIRST, 5), (4 * FIRST, 2), (16 * FIRST, 1)]
    first = ask(tmp_path, "nfe", 10, model="exact:gaussian").best
    assert (
        first.solver == rounds[-1].candidates[0].id
        and "n = 256" in ask(tmp_path, "nfe", 10, model="exact:gaussian").field
    )


def test_candidates_fit_the_budget_and_may_be_deterministic_alone() -> None:
    every, alone = candidates("digits-vp", [5], False), candidates("digits-vp", [5], True)
    assert {"ddim", "euler-maruyama"} <= {entry.id for entry in every} and "rk4" in {entry.id for entry in every}
    assert {SOLVERS[entry.id].kind for entry in alone} == {"ode"}
    assert "rk4" not in {entry.id for entry in candidates("digits-vp", [4], False)}


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("0.5h", 1800)])
def test_times_are_written_with_their_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["10", "m", "-1m", "ten m"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="time"):
        seconds_of(text)


def test_the_command_prints_the_table_or_what_to_paste(
    full_store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["scorebench", "choose", *arguments, "--store", str(full_store)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out + shown.err

    code, text = run("--model", "digits-vp", "--nfe", "20", "--explain")
    assert code == 0 and "1 best" in text and "entrants fit at most 20 network calls" in text
    assert run("--model", "digits-vp", "--nfe", "20", "--format", "python")[1].startswith("import torch")
    assert '"standing": "best"' in run("--model", "digits-vp", "--nfe", "20", "--format", "json")[1]
    assert run("--model", "digits-vp") == (2, "scorebench: name one limit: --nfe N, --ms T or --quality Q\n")
    assert run("--model", "digits-vp", "--nfe", "0")[0] == 2

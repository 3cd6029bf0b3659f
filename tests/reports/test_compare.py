"""The comparison of two sets of results: each level finds what it is there for, and is silent otherwise."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scorebench.cli.compare_trials import checkout, planted
from scorebench.cli.repeat_trials import ratios
from scorebench.reference_models.errors import UsageError
from scorebench.reports.compare.comparison import compare, markdown, to_json
from scorebench.reports.compare.levels import confirmed
from scorebench.reports.compare.side import Side, heading, read, write

SOLVERS = ("ddim", "heun", "pc")


def side(folder: Path, seed: int = 0, scale: float = 1.0, **changes: object) -> Side:
    """Errors of three solvers at two budgets: two of samples, one of likelihood, one CPU time, with their intervals."""
    rng, rows = np.random.default_rng(seed), []
    for solver in SOLVERS:
        for budget in (10, 20):
            for metric, value, half in (
                ("error_median", 1 / budget, 0.002),
                ("fid", 0.3, 0.03),
                ("likelihood_error", 0.1, 0.004),
                ("time_ms", 5.0, 0.1),
                ("overhead_ms", 2.0, 0.1),
            ):
                noise = rng.normal() * half / 1.96 if seed else 0.0
                value = value * scale + noise
                kind = {"likelihood_error": "likelihood", "time_ms": "time", "overhead_ms": "time"}.get(
                    metric, "sample"
                )
                rows.append(
                    {"pass": kind, "model": "exact:gmm", "solver": solver, "budget": budget, "metric": metric}
                    | {
                        "value": value,
                        "low": value - half,
                        "high": value + half,
                        "nfe_mean": float(budget),
                        "calls": budget,
                    }
                    | {"seed_block": seed, "machine": "here", "torch_version": "2", "n_samples": 100}
                )
    table = pd.DataFrame(rows)
    for column, value in changes.items():
        table.loc[table["solver"] == "heun", column] = value
    path = folder / f"side-{len(list(folder.iterdir()))}.csv"
    table.to_csv(path, index=False)
    return read(str(path))


def found(base: Side, new: Side, *levels: str) -> set[tuple[str, str, str]]:
    return {(f.level, f.verdict, f.solver) for f in compare(base, new, levels).findings}


def test_the_same_results_have_no_findings(tmp_path: Path) -> None:
    comparison = compare(side(tmp_path), side(tmp_path))
    assert comparison.findings == [] and comparison.cells == 18 and not comparison.regressed
    assert "No regression" in markdown(comparison)


def test_counts_are_equal_or_a_regression(tmp_path: Path) -> None:
    base = side(tmp_path)
    assert found(base, side(tmp_path, nfe_mean=21)) == {("counts", "regression", "heun")}
    assert found(base, side(tmp_path, calls=9)) == {("counts", "improvement", "heun")}


def test_golden_numbers_may_round_on_one_machine_and_a_little_more_on_another(tmp_path: Path) -> None:
    base = side(tmp_path)
    assert found(base, side(tmp_path, scale=1.0005), "golden") == set()
    assert found(base, side(tmp_path, scale=1.005), "golden") == {("golden", "regression", s) for s in SOLVERS}
    assert found(base, side(tmp_path, scale=0.9), "golden") == {("golden", "improvement", s) for s in SOLVERS}
    moved = side(tmp_path, scale=1.005)
    moved.rows["machine"] = "there"
    assert found(base, moved, "golden") == set()


def test_quality_from_other_seeds_must_be_worse_by_more_than_margin_and_doubt(tmp_path: Path) -> None:
    base = side(tmp_path)
    assert found(base, side(tmp_path, seed=1), "golden", "quality") == set()
    worse = side(tmp_path, seed=1, scale=1.5)
    named = {f.measure for f in compare(base, worse, ["quality"]).of("regression")}
    assert named == {"error_median", "fid", "likelihood_error"}


def test_pairs_see_what_intervals_cannot(tmp_path: Path) -> None:
    """Every sample worse by 4 %, the spread between samples ten times as large: only pairs tell."""
    errors = np.random.default_rng(0).lognormal(-3, 0.5, 400)
    base, new = side(tmp_path), side(tmp_path)
    for one, factor in ((base, 1.0), (new, 1.04)):
        of = one.rows["metric"] == "error_median"
        middle = float(np.median(errors * factor))
        one.rows.loc[of, ["value", "low", "high"]] = middle, middle * 0.9, middle * 1.1
        for cell in one.rows.loc[of, "cell"]:
            one.arrays[cell] = {"index": np.arange(400), "error": errors * factor}
    assert {f.measure for f in compare(base, new, ["quality"]).of("regression")} == {"error_median"}
    assert compare(replace(base, arrays={}), new, ["quality"]).findings == []


def test_times_warn_and_only_what_is_seen_again_is_a_regression(tmp_path: Path) -> None:
    base, slower = side(tmp_path), side(tmp_path)
    timed = (slower.rows["pass"] == "time") & (slower.rows["solver"] == "pc")
    slower.rows.loc[timed, ["value", "low", "high"]] += 1.5  # of 3 in the network
    first = compare(base, slower, ["time"]).findings
    assert {(f.verdict, f.solver) for f in first} == {("warning", "pc")} and "1.30 times" in first[0].why
    assert {f.verdict for f in confirmed(first, [(base, slower)] * 2)} == {"regression"}
    assert {f.verdict for f in confirmed(first, [(base, slower), (base, base)])} == {"warning"}
    slower.rows["machine"] = "there"
    assert compare(base, slower, ["time"]).findings == []


def test_load_that_slows_the_network_alike_is_no_finding(tmp_path: Path) -> None:
    base, loaded = side(tmp_path), side(tmp_path)
    loaded.rows.loc[loaded.rows["pass"] == "time", ["value", "low", "high"]] *= 2
    assert compare(base, loaded, ["time"]).findings == []


def test_adaptive_counts_are_compared_for_the_same_seeds_alone(tmp_path: Path) -> None:
    base, other = side(tmp_path), side(tmp_path, nfe_mean=21.0)
    base.rows["budget"] = other.rows["budget"] = float("nan")
    assert found(base, other, "counts") == {("counts", "regression", "heun")}
    other.rows["seed_block"] = 5
    assert found(base, other, "counts") == set()


def test_rounding_may_turn_down_a_step_of_an_adaptive_method_and_no_more(tmp_path: Path) -> None:
    def adaptive(scale: float = 1.0, **counts: float) -> Side:
        one = side(tmp_path, scale=scale, **{"vjps": 10, **counts})
        return replace(one, rows=one.rows[one.rows["budget"] == 10].assign(budget=float("nan")))

    def stepped(scale: float = 1.0, **counts: float) -> set[tuple[str, str, str]]:
        return found(adaptive(), adaptive(scale, **counts), "counts", "golden")

    assert stepped(nfe_mean=10.1, calls=13, vjps=13) == set()
    assert stepped(nfe_mean=10.3) == {("counts", "regression", "heun")}
    assert stepped(nfe_mean=10.1, calls=13, vjps=14) == {("counts", "regression", "heun")}
    others = {("golden", "regression", solver) for solver in ("ddim", "pc")}  # which took the same steps
    assert stepped(1.005, nfe_mean=10.1) == others
    assert stepped(1.5, nfe_mean=10.1) == {*others, ("golden", "regression", "heun")}


def test_on_another_machine_an_adaptive_method_may_take_other_steps_without_taking_more(tmp_path: Path) -> None:
    """Its distances move by less than their doubt; of fixed steps, and on one machine, that is no rounding."""

    def farther(machine: str, budget: float) -> set[tuple[str, str, str]]:
        base, new = side(tmp_path), side(tmp_path)
        new.rows.loc[new.rows["metric"] == "fid", "value"] += 0.024  # of 0.3 ± 0.03
        sides = [replace(one, rows=one.rows[one.rows["budget"] == 10].assign(budget=budget)) for one in (base, new)]
        sides[1].rows["machine"] = machine
        return found(*sides, "golden")

    every = {("golden", "regression", solver) for solver in SOLVERS}
    assert farther("there", float("nan")) == set()
    assert farther("there", 10) == farther("here", float("nan")) == every


def test_a_comment_is_never_longer_than_github_takes_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    comparison = compare(side(tmp_path), side(tmp_path, scale=1.5))
    assert "<summary>Every finding</summary>" in markdown(comparison)
    many = replace(comparison, findings=[f for f in comparison.findings for _ in range(100)])
    text = markdown(many)
    assert 60_000 < len(text) < 65_536
    (shown,) = re.findall(rf"The first (\d+) of {len(many.findings)} findings", text)
    assert text.count("\n| regression |") == int(shown)


def test_what_is_missing_is_a_regression_unless_the_new_side_is_a_part(tmp_path: Path) -> None:
    base = side(tmp_path)
    part = replace(base, rows=base.rows[base.rows["solver"] != "pc"])
    assert found(base, part) == {("cells", "regression", "pc")}
    assert not compare(base, part, partial=True).findings
    assert found(part, base) == {("cells", "new", "pc")} and not compare(part, base).regressed
    assert found(base, side(tmp_path, status="failed")) == {("cells", "regression", "heun")}


@pytest.mark.parametrize("name", ["base.csv", "base.csv.gz"])
def test_a_baseline_is_written_with_its_reasons_and_read_back(tmp_path: Path, name: str) -> None:
    path, base = tmp_path / name, side(tmp_path)
    write(base, path, "first\nfigures", "2026-01-02")
    write(base, path, "again", "2026-01-03")
    assert heading(path) == ["# 2026-01-02: first figures", "# 2026-01-03: again"]
    assert compare(base, read(str(path))).findings == []


def test_a_compressed_baseline_that_was_cut_or_is_none_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "base.csv.gz"
    write(side(tmp_path), path, "first", "2026-01-02")
    for content in (path.read_bytes()[:-20], b"model,solver,metric,value\n"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"^table .*base\.csv\.gz: "):
            read(str(path))


def test_a_model_of_other_weights_is_compared_by_counts_alone(tmp_path: Path) -> None:
    base, new = side(tmp_path), side(tmp_path, scale=3.0)
    base.rows["model_digest"], new.rows["model_digest"] = "one", "two"
    comparison = compare(base, new, ["counts", "golden", "quality"])
    assert comparison.findings == [] and comparison.notes[0].startswith("exact:gmm: not the same model")


def test_four_columns_are_enough_and_without_them_the_message_names_one(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("model,solver,metric,value\nmine,ddim,fid,1.0\n")
    worse = tmp_path / "worse.csv"
    worse.write_text("model,solver,metric,value\nmine,ddim,fid,1.2\n")
    comparison = compare(read(str(own)), read(str(worse)))
    assert comparison.regressed and json.loads(to_json(comparison))["findings"][0]["new"] == 1.2
    own.write_text("model,metric,value\nmine,fid,1.0\n")
    with pytest.raises(UsageError, match="no column 'solver'"):
        read(str(own))


def test_sides_that_share_nothing_or_levels_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    base = side(tmp_path)
    with pytest.raises(UsageError, match="share no cell"):
        compare(base, replace(base, rows=base.rows.assign(model="another")))
    with pytest.raises(UsageError, match="did you mean golden"):
        compare(base, base, ["goldn"])


def test_every_planted_regression_still_finds_the_piece_it_replaces_and_leaves_code_that_runs() -> None:
    regressions = planted()
    assert len(regressions) >= 20
    for regression in regressions:
        source = (checkout() / regression.file).read_text()
        assert regression.old in source and regression.old != regression.new, regression.about
        compile(source.replace(regression.old, regression.new), regression.file, "exec")


def test_cells_that_differ_in_their_ending_alone_are_compared_each_with_its_own(build) -> None:
    """Three endings of one solver at one budget, as in the suite `attribution`, one of them worse on the new side."""
    made, errors = build(), np.random.default_rng(0).lognormal(size=64)
    endings = ({}, {"denoise": True}, {"euler_at_final": True})
    for place, ending in enumerate(endings):
        more = {"ending": ending} if ending else {}
        made.errors("exact:gmm", "ddim", 10, errors * (1 + place), denoise=ending.get("denoise", False), **more)
    base = read(str(made.finish()))
    assert compare(base, base).cells == 3 and not compare(base, base).findings
    rows = base.rows.copy()
    worse = rows["options"].str.contains("euler_at_final")
    rows.loc[worse, ["value", "low", "high"]] *= 1.5
    (finding,) = compare(base, replace(base, rows=rows), ["golden"]).findings
    assert finding.solver == "ddim (euler_at_final=True)"


def test_times_in_calls_are_compared_where_both_sides_have_them(tmp_path: Path) -> None:
    """By CPU time one solver takes 30 % more calls' worth; wall times and what the overhead leaves of them say nothing."""

    def counted(one: Side, factor: float) -> Side:
        calls = one.rows[one.rows["metric"] == "overhead_ms"].assign(metric="time_in_calls")
        units = np.where(calls["solver"] == "pc", factor, 1.0) * 12
        calls = calls.assign(value=units, low=units - 0.2, high=units + 0.2)
        return replace(one, rows=pd.concat([one.rows, calls], ignore_index=True))

    base, new = counted(side(tmp_path), 1.0), counted(side(tmp_path), 1.3)
    first = compare(base, new, ["time"]).findings
    assert {(f.verdict, f.solver) for f in first} == {("warning", "pc")} and "1.30 times" in first[0].why
    assert not compare(side(tmp_path), new, ["time"]).findings


def test_ratios_of_two_runs_are_those_of_the_cells_that_both_timed(tmp_path: Path) -> None:
    base = side(tmp_path)
    steady, slower = (ratios(base, side(tmp_path, scale=scale), "time_ms") for scale in (1.0, 1.2))
    assert np.allclose(steady, 1.0) and np.allclose(slower, 1.2) and len(steady) == 6
    assert len(ratios(base, replace(base, rows=base.rows[base.rows["solver"] == "pc"]), "time_ms")) == 2

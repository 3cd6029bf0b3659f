"""The history of the benchmarks: asv's files are read, steps are found and named, and the commands refuse what is no commit."""

import json
from pathlib import Path

import pytest

from scorebench.bench.history import configuration, main
from scorebench.reports import history


def run(folder: Path, day: int, values: list[float | None]) -> None:
    """One commit's file as asv writes it: two benchmarks, one with parameters."""
    (folder / "machine").mkdir(parents=True, exist_ok=True)
    results = {"update.time_combine": [values, [["'float32'", "'float64'"]]], "memory.peakmem": [[100.0], []]}
    body = {"commit_hash": f"{day:040d}"[::-1], "date": day, "results": results}
    (folder / "machine" / f"{day:08d}-existing.json").write_text(json.dumps(body))


def test_series_are_of_one_benchmark_and_its_parameters_oldest_first(tmp_path):
    for day, value in enumerate([1.0, 1.01, 0.99, 1.0, 1.4, 1.41, 1.39, 1.4], 1):
        run(tmp_path, day, [value, None if day == 1 else 2.0])
    moved, *still = history.read(tmp_path)
    assert (moved.name, moved.parameters, len(moved.values), moved.change) == ("update.time_combine", "float32", 8, 1.4)
    assert {(s.label, len(s.values)) for s in still} == {("update.time_combine (float64)", 7), ("memory.peakmem", 8)}
    pytest.importorskip("asv", reason="asv is not installed")
    ((commit, factor),) = moved.steps()
    assert commit == moved.commits[4] and factor == pytest.approx(1.4, rel=0.01)
    _, rows = history.table([moved, *still])
    assert len(rows) == 1 and rows[0][-1] == f"× 1.40 at {commit}"
    assert "1 rose and 0 fell" in history.caption([moved, *still])
    assert history.chart([moved, *still]).axes


def test_one_commit_or_none_has_no_history(tmp_path):
    assert history.read(tmp_path) == []
    run(tmp_path, 1, [1.0, 2.0])
    assert history.read(tmp_path) == []


def test_what_is_no_commit_is_refused_in_one_line(capsys):
    assert main(["no-such-commit"]) == 2
    assert capsys.readouterr().err == "'no-such-commit' is no commit of this project\n"


def test_asv_is_told_the_paths_of_the_checkout(tmp_path):
    settings = json.loads((configuration(tmp_path / "here", tmp_path / "results") / "asv.conf.json").read_text())
    assert Path(settings["benchmark_dir"]).is_dir() and settings["results_dir"] == str(tmp_path / "results")

"""The history of the benchmarks: asv's files are read, steps are found and named, and the commands refuse what is no commit."""

import json
from pathlib import Path

import pytest

from scorebench.bench.history import configuration, main, publish
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


def test_a_step_of_a_few_per_cent_is_no_news(tmp_path):
    pytest.importorskip("asv", reason="asv is not installed")
    for day, value in enumerate([1.0, 1.0, 1.0, 1.0, 1.03, 1.03, 1.03, 1.2], 1):
        run(tmp_path, day, [value, 2.0])
    moved = history.read(tmp_path)[0]
    assert [factor for _, factor in moved.steps()] == [pytest.approx(1.2 / 1.03)]


def test_a_benchmark_that_failed_on_a_commit_has_no_value_there(tmp_path):
    for day in (1, 2):
        run(tmp_path, day, [1.0, 2.0])
    path = next(tmp_path.glob("*/*0001-*.json"))
    body = json.loads(path.read_text())
    body["results"]["update.time_combine"][0] = None
    path.write_text(json.dumps(body))
    assert [s.name for s in history.read(tmp_path)] == ["memory.peakmem"]


def test_one_commit_or_none_has_no_history(tmp_path):
    assert history.read(tmp_path) == []
    run(tmp_path, 1, [1.0, 2.0])
    assert history.read(tmp_path) == []


def test_what_is_no_commit_is_refused_in_one_line(capsys):
    assert main(["no-such-commit"]) == 2
    assert capsys.readouterr().err == "'no-such-commit' is no commit of this project\n"


def test_asv_is_told_the_paths_of_the_checkout(tmp_path):
    settings = json.loads((configuration(tmp_path / "here") / "asv.conf.json").read_text())
    assert Path(settings["benchmark_dir"]).is_dir() and settings["results_dir"] == "results"


def as_asv_writes(found: Path, results: dict[str, list[object]]) -> str:
    """A commit's file with the host's name and a path, and what stands beside it; returns the commit."""
    commit, place = "ab12" * 10, found / "hostname"
    place.mkdir(parents=True, exist_ok=True)
    (found / "benchmarks.json").write_text("{}")
    (place / "machine.json").write_text(json.dumps({"machine": "hostname", "os": "Linux 6.1-hostname", "version": 1}))
    body = {"commit_hash": commit, "env_name": "existing-py_home_me_python", "python": "/home/me/python", "date": 1}
    body |= {"params": {"machine": "hostname", "os": "Linux 6.1-hostname", "ram": "8", "python": "/home/me/python"}}
    body |= {"result_columns": ["result", "params", "version", "samples", "profile"], "results": results}
    (place / f"{commit[:8]}-existing-py_home_me_python.json").write_text(json.dumps(body))
    return commit


def test_what_is_published_names_neither_host_nor_folder_and_keeps_what_was_not_measured_anew(tmp_path):
    found, results = tmp_path / "found", tmp_path / "results"
    commit = as_asv_writes(found, {"a": [[1.0], [], "v", [[0.9, 1.1]]], "b": [[2.0], [], "v", [[2.0]]]})
    publish(found, results, commit)
    as_asv_writes(found, {"b": [None, [], "v"], "c": [[4.0], [], "v", [[4.0]]]})
    publish(found, results, commit)
    written = [path for path in results.rglob("*") if path.is_file()]
    assert len(written) == 3
    for path in written:
        assert not any(word in f"{path.relative_to(results)} {path.read_text()}" for word in ("hostname", "home"))
    (ran,) = results.glob("*/ab12ab12-*.json")
    body = json.loads(ran.read_text())
    assert body["results"] == {"a": [[1.0], [], "v"], "b": [None, [], "v"], "c": [[4.0], [], "v"]}
    assert body["result_columns"] == ["result", "params", "version"]
    assert (
        body["params"]["machine"] == ran.parent.name == json.loads((ran.parent / "machine.json").read_text())["machine"]
    )

"""The asv suites over commits: `python -m scorebench.bench.history BASE [COMMIT ...] [--bench REGEX] [--rounds 3]`.

Each commit's own code is imported from a work tree, the benchmarks are those of this checkout, and the commits take turns in
every round, so that drift of the machine hits all alike. What asv writes is kept with its samples under .asv/history, so that
another run adds to it; results/asv gets the figures.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scorebench.reference_models.errors import UsageError

from .provenance import machine
from .revisions import Revision, checkout, commit_of, revision
from .store import write_whole

FOLDER = Path(".asv/history")


def configuration(folder: Path) -> Path:
    """asv's configuration with the paths of this checkout, in a folder of its own, where the machine is known and results go."""
    folder.mkdir(parents=True, exist_ok=True)
    here = checkout()
    settings = json.loads((here / "asv.conf.json").read_text())
    settings |= {"repo": str(here), "benchmark_dir": str(here / "bench/timings"), "results_dir": "results"}
    (folder / "asv.conf.json").write_text(json.dumps(settings, indent=1) + "\n")
    return folder


def asv(folder: Path, arguments: Sequence[str], tree: Path | None = None) -> None:
    """One command of asv, importing from a work tree if one is given; UsageError with its last line where it fails."""
    environment = os.environ | {"HOME": str(folder.resolve()), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if tree is not None:
        environment |= {"PYTHONPATH": str(tree / ".import"), "ASV_PYTHONPATH": str(tree / ".import")}
    done = subprocess.run(
        [sys.executable, "-m", "asv", *arguments], cwd=folder, env=environment, text=True, capture_output=True
    )
    if done.returncode not in (0, 2):  # 2: some benchmarks failed, as those that a commit is too old for
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"exit code {done.returncode}"]
        raise UsageError(f"asv {' '.join(arguments)}: {said[-1]}")


def publish(found: Path, results: Path, commit: str) -> None:
    """Put what asv found of a commit into results, without samples and without the names of this host and its folders.

    A benchmark that was measured anew takes the place of its older figures.
    """
    name = re.sub(r"[^a-z0-9]+", "-", machine().lower())
    here, python = {"machine": name, "os": platform.system()}, ".".join(platform.python_version_tuple()[:2])
    ran = max(found.glob(f"*/{commit[:8]}-*.json"), key=lambda path: path.stat().st_mtime)
    body = json.loads(ran.read_text())
    columns = [
        column for column in body["result_columns"] if column not in ("samples", "profile")
    ]  # which are the last
    body |= {"env_name": f"existing-py{python}", "python": python, "result_columns": columns}
    body["params"] |= here | {"python": python}
    body["results"] = {bench: row[: len(columns)] for bench, row in body["results"].items()}
    target = results / name / f"{commit[:8]}-existing-py{python}.json"
    if target.is_file():
        body["results"] = json.loads(target.read_text())["results"] | body["results"]
    described = json.loads((ran.parent / "machine.json").read_text()) | here
    write_whole(results / "benchmarks.json", (found / "benchmarks.json").read_bytes())
    write_whole(results / name / "machine.json", json.dumps(described, indent=1).encode() + b"\n")
    write_whole(target, json.dumps(body, separators=(",", ":")).encode() + b"\n")


def measure(commits: Sequence[str], results: Path, bench: str, rounds: int, folder: Path = FOLDER) -> list[str]:
    """Run the benchmarks of every commit so often, in turn; returns the commits in full. UsageError where one is none."""
    names = []
    for name in commits:
        if (full := commit_of(name)) is None:
            raise UsageError(f"{name!r} is no commit of this project")
        names.append(full)
    trees: dict[str, Revision] = {}
    for full in dict.fromkeys(names):
        found = revision(full, folder / "trees")
        assert found is not None
        trees[full] = found
    place = configuration(folder)
    asv(place, ["machine", "--yes"])
    for number in range(1, rounds + 1):
        order = list(trees)[:: 1 if number % 2 else -1]
        for full in order:
            print(f"round {number} of {rounds}: {full[:12]}", flush=True)
            wanted = ["--bench", bench] if bench else []
            flags = ["--set-commit-hash", full, "--append-samples", "-a", "rounds=1", *wanted]
            asv(place, ["run", "-E", f"existing:{sys.executable}", *flags], trees[full].tree)
            publish(place / "results", results, full)
    return list(trees)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m scorebench.bench.history", description="The asv suites over commits."
    )
    parser.add_argument("commits", nargs="+", help="the base and others; HEAD is measured too")
    parser.add_argument("--bench", default="", help="a regular expression: only these benchmarks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("results/asv"))
    given = parser.parse_args(arguments)
    try:
        measured = measure([*given.commits, "HEAD"], given.results, given.bench, given.rounds)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(measured)} commits in {given.results}: `scorebench report` shows their history")
    return 0


if __name__ == "__main__":
    sys.exit(main())

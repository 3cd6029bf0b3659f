"""The store's commands: what they print, and their exit codes."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scorebench import cli
from scorebench.bench.store import Store, key_of

ORIGIN = {"device": "cpu", "threads": 1, "commit": "0", "package_version": "0", "torch_version": "0", "machine": "m"}
ORIGIN |= {"started": "2026-01-01T00:00:00+00:00", "seconds": 0.5, "command": "scorebench run"}


def scorebench(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["scorebench", "store", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def filled(root: Path, seeds: range) -> Store:
    store, keys = Store(root).open_for_writing(), list[str]()
    for seed in seeds:
        config = dict.fromkeys(("pass", "model", "model_digest", "process", "solver", "kind", "grid", "dtype"), "x")
        config |= {"options": {}, "eta": 0.0, "budget": 5, "n": 4, "seed": seed}
        keys.append(key := key_of(config))
        body = {"config": config, "counts": {}, "status": "ok", "message": "", "provenance": ORIGIN}
        store.write_cell(key, body, {"error": np.arange(4.0)})
    store.write_json("suites/s.json", {"name": "s", "config": {}, "cells": keys})
    return store


def test_verify_names_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = filled(tmp_path, range(3))
    assert scorebench(monkeypatch, "verify", tmp_path) == 0
    assert "3 cells, 0 damaged files, 0 strays" in capsys.readouterr().out
    damaged = store.root / "cells" / f"{store.keys('cells')[1]}.npz"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert scorebench(monkeypatch, "verify", tmp_path) == 1
    assert f"damaged: cells/{damaged.name}" in capsys.readouterr().out


def test_merge_prune_and_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = filled(tmp_path / "one", range(3)), filled(tmp_path / "two", range(2, 6))
    assert scorebench(monkeypatch, "merge", one.root, two.root) == 0
    assert "3 cells from" in (printed := capsys.readouterr().out) and "1 were there, 0 damaged" in printed
    (one.root / "cells" / ".x.json.1-0badcafe").write_bytes(b"")
    assert scorebench(monkeypatch, "prune", one.root, "--dry-run") == 0
    assert "1 files would go" in capsys.readouterr().out
    assert scorebench(monkeypatch, "prune", one.root) == 0
    assert "1 files removed" in capsys.readouterr().out and not list(one.root.glob("cells/.*"))
    for name, read in (("r.csv", pd.read_csv), ("r.parquet", pd.read_parquet), ("r.json", pd.read_json)):
        assert scorebench(monkeypatch, "export", one.root, "--out", tmp_path / name) == 0
        assert sorted(read(tmp_path / name)["seed_block"]) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "nowhere"], "scorebench run quick --store nowhere"),
        (["merge", "a", "nowhere"], "no store at nowhere"),
        (["export", "nowhere", "--out", "rows.txt"], "name a .csv, .parquet or .json file"),
        (["migrate", "nowhere"], "no store at nowhere"),
        (["vrify", "nowhere"], "vrify"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert scorebench(monkeypatch, *arguments) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1 and not list(tmp_path.iterdir())

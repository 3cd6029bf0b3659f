"""verify finds what is wrong, merge copies what is right, prune removes what nobody lists, and old stores come along."""

import hashlib
import json
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from scorebench.bench.migration import migrate
from scorebench.bench.store import SCHEMA, Store, canonical, key_of
from scorebench.bench.upkeep import merge, prune, verify
from scorebench.reference_models.errors import UsageError

ARRAYS = {"error": np.arange(4.0)}


def add(store: Store, name: str, status: str = "ok") -> str:
    config = {"name": name, "schema": SCHEMA}
    key = key_of(config)
    store.write_cell(key, {"config": config, "status": status}, ARRAYS)
    store.write_json(f"metrics/{key}.json", {"rows": [], "message": status})
    return key


def filled(root: Path, names: str, **status: str) -> Store:
    store = Store(root).open_for_writing()
    keys = [add(store, name, status.get(name, "ok")) for name in names]
    store.write_json("suites/s.json", {"name": "s", "config": {}, "cells": keys})
    store.write_json("solvers.json", {"solvers": {name: {} for name in names}})
    store.write_json("models.json", {"models": {}})
    store.write_npz(f"references/{names}.npz", ARRAYS)
    return store


def test_verify_finds_every_damaged_file_and_every_stray(tmp_path: Path) -> None:
    store = filled(tmp_path, "ab")
    assert not verify(store).damaged and not verify(store).stray and verify(store).cells == 2
    files = sorted(path for path in tmp_path.rglob("*.*") if path.is_file())
    assert len(files) == 11
    for path in files:
        intact = path.read_bytes()
        for wrong in (intact[:-1], intact[:9] + bytes([intact[9] ^ 32]) + intact[10:], b""):
            path.write_bytes(wrong)
            assert verify(store).damaged == [path.relative_to(tmp_path).as_posix()]
        path.write_bytes(intact)
    (tmp_path / "cells" / "c.npz").write_bytes(b"arrays of no cell")
    (tmp_path / "cells" / ".d.npz.1-0badcafe").write_bytes(b"half a file")
    assert sorted(verify(store).stray) == ["cells/.d.npz.1-0badcafe", "cells/c.npz"]


def test_merge_takes_what_is_sound_and_prefers_successes(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one", "abc", b="failed", c="failed"), filled(tmp_path / "two", "bcde", c="failed")
    a, b, c = [key_of({"name": n, "schema": SCHEMA}) for n in "abc"]
    damaged = two.root / "cells" / f"{key_of({'name': 'e', 'schema': SCHEMA})}.npz"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    merged = merge(one, two)
    assert (merged.new, merged.present, merged.damaged) == (2, 1, 1)  # b and d; c; e
    assert not verify(one).damaged and verify(one).cells == 4
    assert [one.cell(key)["status"] for key in (a, b, c)] == ["ok", "ok", "failed"]
    assert one.read_json(f"metrics/{b}.json")["message"] == "ok"
    assert len(one.suites()[0]["cells"]) == 5 and set(one.read_json("solvers.json")["solvers"]) == set("abcde")
    assert {path.name for path in one.root.glob("references/*")} == {"abc.npz", "bcde.npz"}


def test_merging_both_ways_gives_the_same_cells(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one", "abc"), filled(tmp_path / "two", "cd")
    copy = Store(Path(shutil.copytree(one.root, tmp_path / "copy")))
    merge(one, two)
    merge(two, copy)

    def files(store: Store) -> dict[str, bytes]:
        return {
            path.name: path.read_bytes() for folder in ("cells", "metrics") for path in (store.root / folder).iterdir()
        }

    assert files(one) == files(two)


def test_prune_removes_what_no_suite_lists(tmp_path: Path) -> None:
    store = filled(tmp_path, "ab")
    key = add(store, "old")
    (tmp_path / "cells" / ".x.json.1-0badcafe").write_bytes(b"")
    doomed = [f"cells/{key}.json", f"cells/{key}.npz", f"metrics/{key}.json", "cells/.x.json.1-0badcafe"]
    assert sorted(prune(store, dry=True)) == sorted(doomed) and verify(store).cells == 3
    assert sorted(prune(store)) == sorted(doomed) and verify(store).cells == 2 and not verify(store).stray


def old_json(path: Path, body: dict[str, object]) -> None:
    checksum = hashlib.sha256(canonical(body).encode()).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body | {"checksum": checksum}, indent=1, sort_keys=True) + "\n")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A store of the first schema: two cells, one with damaged arrays."""
    root, keys = tmp_path / "old", []
    for name in "ab":
        config = {"name": name, "schema": 1}
        keys.append(key := key_of(config))
        (root / "cells").mkdir(parents=True, exist_ok=True)
        np.savez_compressed(root / "cells" / f"{key}.npz", **ARRAYS)  # type: ignore[arg-type]
        digest = hashlib.sha256((root / "cells" / f"{key}.npz").read_bytes()).hexdigest()
        old_json(root / "cells" / f"{key}.json", {"config": config, "key": key, "npz_sha256": digest, "status": "ok"})
        old_json(root / "metrics" / f"{key}.json", {"metric_key": "k", "rows": [{"metric": "fid"}]})
    (root / "cells" / f"{keys[1]}.npz").write_bytes(b"cut")
    old_json(root / "suites" / "s.json", {"name": "s", "config": {}, "cells": keys})
    old_json(root / "solvers.json", {"solvers": {"heun": {"order": 2}}})
    (root / "references").mkdir()
    np.savez_compressed(root / "references" / "strip-m.npz", **ARRAYS)  # type: ignore[arg-type]
    old_json(root / "store.json", {"schema": 1})
    return root


def test_a_store_of_the_first_schema_is_brought_along(old: Path) -> None:
    store, lines = Store(old), list[str]()
    with pytest.raises(UsageError, match=r"schema 1.*scorebench store migrate"):
        store.open_for_reading()
    migrate(store, lines.append)
    (key,) = store.open_for_reading().keys("cells")
    assert "1 cells, 1 damaged" in lines[0] and key == key_of({"name": "a", "schema": SCHEMA})
    np.testing.assert_array_equal(store.arrays(key)["error"], ARRAYS["error"])
    assert store.read_json(f"metrics/{key}.json")["rows"] == [{"metric": "fid"}]
    assert store.suites()[0]["cells"] == [key] and store.read_json("solvers.json")["solvers"] == {"heun": {"order": 2}}
    assert not verify(store).damaged
    prune(store)
    assert not verify(store).stray


def test_a_migration_that_is_killed_starts_again(old: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = Store(Path(shutil.copytree(old, tmp_path / "whole")))
    migrate(whole, lambda line: None)
    write = Store.write_json
    for last in range(5):

        def dies(self: Store, name: str, body: dict[str, object], left: list[int] = [last]) -> None:  # noqa: B006
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            write(self, name, body)

        monkeypatch.setattr(Store, "write_json", dies)
        with suppress(KeyboardInterrupt):
            migrate(Store(old), lambda line: None)
    monkeypatch.undo()
    migrate(Store(old), lambda line: None)
    assert {p.relative_to(old): p.read_bytes() for p in old.rglob("*.*")} == {
        p.relative_to(whole.root): p.read_bytes() for p in whole.root.rglob("*.*")
    }

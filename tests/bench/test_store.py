"""The store: written whole, checked when read, merged by copying."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from scorebench.bench.store import Store, canonical, key_of, write_whole
from scorebench.reference_models.errors import UsageError

ARRAYS = {"error": np.arange(4.0)}


def filled(path: Path) -> Store:
    store = Store(path).open_for_writing()
    store.write_cell("k1", {"config": {"a": 1}, "status": "ok"}, ARRAYS)
    return store


def test_a_cell_comes_back_as_it_was(tmp_path: Path) -> None:
    store = filled(tmp_path)
    assert store.cell("k1")["config"] == {"a": 1}
    np.testing.assert_array_equal(store.arrays("k1")["error"], ARRAYS["error"])
    assert store.keys("cells") == ["k1"] and not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("damage", ["cut json", "edit json", "cut npz", "lose npz"])
def test_a_damaged_cell_is_refused_with_its_path(tmp_path: Path, damage: str) -> None:
    store = filled(tmp_path)
    json_file, npz_file = tmp_path / "cells" / "k1.json", tmp_path / "cells" / "k1.npz"
    if damage == "cut json":
        json_file.write_text(json_file.read_text()[:40])
    elif damage == "edit json":
        json_file.write_text(json_file.read_text().replace('"ok"', '"failed"'))
    elif damage == "cut npz":
        npz_file.write_bytes(npz_file.read_bytes()[:-5])
    else:
        npz_file.unlink()
    with pytest.raises(UsageError, match=r"k1\.(json|npz).*run the suite again"):
        store.check(["k1"])


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_whole(path, b"old")

    def broken(*_: object) -> None:
        raise OSError("disk")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["x"]


def test_stores_merge_by_copying(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one"), Store(tmp_path / "two").open_for_writing()
    two.write_cell("k2", {"config": {}, "status": "ok"}, ARRAYS)
    shutil.copytree(two.root / "cells", one.root / "cells", dirs_exist_ok=True)
    one.check(["k1", "k2"])


def test_other_folders_are_not_stores(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="scorebench run quick"):
        Store(tmp_path).open_for_reading()
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match="not a writable folder"):
        Store(file / "store").open_for_writing()
    Store(tmp_path).write_json("store.json", {"schema": 99})
    with pytest.raises(UsageError, match="schema 99"):
        Store(tmp_path).open_for_writing()


def test_keys_do_not_depend_on_order_and_refuse_nan() -> None:
    assert key_of({"a": 1, "b": [1.5]}) == key_of({"b": [1.5], "a": 1}) != key_of({"a": 1, "b": [1.25]})
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": float("nan")})
    assert json.loads(canonical({"a": 0.1})) == {"a": 0.1}

"""The store: written whole, sealed, checked when read, merged by copying."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from scorebench.bench.store import (
    Damaged,
    Store,
    Unwritable,
    canonical,
    is_sealed_npz,
    key_of,
    opened_json,
    write_whole,
)
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


@pytest.mark.parametrize("damage", ["cut json", "edit json", "cut npz", "lose npz", "another's json"])
def test_a_damaged_cell_is_refused_with_its_path(tmp_path: Path, damage: str) -> None:
    store = filled(tmp_path)
    json_file, npz_file = tmp_path / "cells" / "k1.json", tmp_path / "cells" / "k1.npz"
    if damage == "cut json":
        json_file.write_text(json_file.read_text()[:40])
    elif damage == "edit json":
        json_file.write_text(json_file.read_text().replace('"ok"', '"failed"'))
    elif damage == "cut npz":
        npz_file.write_bytes(npz_file.read_bytes()[:-5])
    elif damage == "lose npz":
        npz_file.unlink()
    else:
        store.write_cell("k2", {"config": {"a": 2}}, ARRAYS)
        json_file.write_bytes((tmp_path / "cells" / "k2.json").read_bytes())
    with pytest.raises(Damaged, match=r"k1\.(json|npz).*run the suite again"):
        store.arrays("k1")


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """All 8 bits of every byte of a JSON and an npz, and every truncation."""
    store = filled(tmp_path)
    for path, whole in (
        (store.root / "cells" / "k1.json", lambda content: opened_json(content) is not None),
        (store.root / "cells" / "k1.npz", is_sealed_npz),
    ):
        intact = path.read_bytes()
        assert whole(intact)
        for place, byte in enumerate(intact):
            assert not whole(intact[:place])
            for bit in range(8):
                assert not whole(intact[:place] + bytes([byte ^ 1 << bit]) + intact[place + 1 :])


def test_references_are_sealed_and_a_damaged_one_counts_as_absent(tmp_path: Path) -> None:
    store = filled(tmp_path)
    store.write_npz("references/r.npz", ARRAYS)
    kept = store.reference("r")
    assert kept is not None
    np.testing.assert_array_equal(kept["error"], ARRAYS["error"])
    path = tmp_path / "references" / "r.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert store.reference("r") is None


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_whole(path, b"old")

    def broken(*_: object) -> None:
        raise OSError(28, "disk")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(Unwritable, match=r"cannot write .*x: disk"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["x"]


def test_stores_merge_by_copying(tmp_path: Path) -> None:
    one, two = filled(tmp_path / "one"), Store(tmp_path / "two").open_for_writing()
    two.write_cell("k2", {"config": {}, "status": "ok"}, ARRAYS)
    shutil.copytree(two.root / "cells", one.root / "cells", dirs_exist_ok=True)
    for key in ("k1", "k2"):
        one.arrays(key)


def test_other_folders_are_not_stores(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="scorebench run quick"):
        Store(tmp_path).open_for_reading()
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match="not a writable folder"):
        Store(file / "store").open_for_writing()
    Store(tmp_path).write_json("store.json", {"schema": 99})
    with pytest.raises(UsageError, match=r"schema 99.*newer"):
        Store(tmp_path).open_for_writing()


def test_what_killed_writers_left_goes_when_nobody_else_is_at_work(tmp_path: Path) -> None:
    store = filled(tmp_path)
    left = tmp_path / "cells" / ".k2.npz.123-0badcafe"
    left.write_bytes(b"half")
    assert store.keys("cells") == ["k1"]
    with store.shared():
        assert not left.exists() and store.keys("cells") == ["k1"]


def test_keys_do_not_depend_on_order_and_refuse_nan() -> None:
    assert key_of({"a": 1, "b": [1.5]}) == key_of({"b": [1.5], "a": 1}) != key_of({"a": 1, "b": [1.25]})
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": float("nan")})
    assert json.loads(canonical({"a": 0.1})) == {"a": 0.1}

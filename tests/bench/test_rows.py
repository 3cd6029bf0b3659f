"""Rows of a large store come from its cache only as far as the files are what they were."""

from pathlib import Path

import pandas as pd
import pytest

from scorebench.bench import rows
from scorebench.bench.rows import load_rows
from scorebench.bench.store import Damaged, Store, key_of

ORIGIN = {"device": "cpu", "threads": 1, "commit": "0", "package_version": "0", "torch_version": "0", "machine": "m"}
ORIGIN |= {"started": "2026-01-01T00:00:00+00:00", "seconds": 0.5}


def write(store: Store, seed: int, value: float) -> str:
    config = dict.fromkeys(("pass", "model", "model_digest", "process", "solver", "kind", "grid", "dtype"), "x")
    config |= {"options": {"eta": 1.0}, "eta": 1.0, "budget": None if seed % 2 else 5, "n": 4, "seed": seed}
    key = key_of(config)
    body = {"config": config, "counts": {"calls": 5}, "status": "ok", "message": "", "provenance": ORIGIN}
    store.write_cell(key, body, {})
    metric = {"metric": "fid", "value": value, "low": None, "high": None, "unit": "", "floor": None, "features": "f"}
    store.write_json(f"metrics/{key}.json", {"message": "", "rows": [metric, metric | {"metric": "kid"}]})
    return key


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(rows, "WORTH", 3)
    made = Store(tmp_path / "store").open_for_writing()
    keys = [write(made, seed, float(seed)) for seed in range(6)]
    made.write_json("suites/a.json", {"name": "a", "config": {}, "cells": keys[:4]})
    made.write_json("suites/b.json", {"name": "b", "config": {}, "cells": [*keys[:1:-1], "0" * 24]})
    return made


def fresh(store: Store, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    with monkeypatch.context() as context:
        context.setattr(rows, "WORTH", 10**9)
        return load_rows(store)


def test_rows_are_the_same_with_and_without_the_cache(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fresh(store, monkeypatch)
    assert list(expected["suite"]) == ["a"] * 8 + ["b"] * 8 and list(expected["seed_block"][8::2]) == [5, 4, 3, 2]
    assert not (store.root / "cache").exists()
    for _ in range(2):
        pd.testing.assert_frame_equal(load_rows(store), expected)
    assert len(list(store.root.glob("cache/*"))) == 1


def test_only_changed_cells_are_parsed_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    load_rows(store)
    key = write(store, 2, 7.0)
    parsed: list[str] = []
    parse = rows._parsed
    monkeypatch.setattr(rows, "_parsed", lambda *a: parsed.append(a[1]) or parse(*a))
    changed = load_rows(store)
    assert parsed == [key] and set(changed[changed.cell == key].value) == {7.0}
    pd.testing.assert_frame_equal(changed, fresh(store, monkeypatch))
    parsed.clear()
    load_rows(store)
    assert not parsed and len(list(store.root.glob("cache/*"))) == 1


def test_a_damaged_cell_or_cache_is_never_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_rows(store)
    cache = next(store.root.glob("cache/*"))
    content = bytearray(cache.read_bytes())
    content[len(content) // 2] ^= 1
    cache.write_bytes(content)
    pd.testing.assert_frame_equal(load_rows(store), expected)
    path = next(store.root.glob("metrics/*"))
    path.write_text(path.read_text().replace("0.0", "0.5").replace("1.0", "1.5").replace("fid", "fie"))
    with pytest.raises(Damaged, match=path.name):
        load_rows(store)

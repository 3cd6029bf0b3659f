"""The store: a folder of cells, each one JSON and one npz, written whole or not at all and checked when read."""

import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from scorebench.reference_models.errors import UsageError

SCHEMA = 1
Json = dict[str, Any]


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: what keys and checksums hash. Non-finite numbers are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(value: object) -> str:
    """The key of a configuration: 24 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:24]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there completely or not at all: temporary file, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class Store:
    """Read and write access to one store folder; it is created by the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open_for_reading(self) -> "Store":
        """UsageError unless this is a store of this schema."""
        if not (self.root / "store.json").is_file():
            raise UsageError(f"no store at {self.root}: make one with `scorebench run quick --store {self.root}`")
        schema = self.read_json("store.json").get("schema")
        if schema != SCHEMA:
            raise UsageError(f"store {self.root} has schema {schema}, this scorebench reads {SCHEMA}")
        return self

    def open_for_writing(self) -> "Store":
        """UsageError, and nothing written, where the folder cannot be written."""
        existing = next(p for p in (self.root, *self.root.absolute().parents) if p.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise UsageError(f"store {self.root}: {existing} is not a writable folder; name another with --store DIR")
        if (self.root / "store.json").exists():
            return self.open_for_reading()
        try:
            self.write_json("store.json", {"schema": SCHEMA})
        except OSError as error:
            raise UsageError(f"store {self.root}: {error.strerror}; name another with --store DIR") from None
        return self

    def write_json(self, name: str, value: Json) -> None:
        body = {key: entry for key, entry in value.items() if key != "checksum"}
        checksum = hashlib.sha256(canonical(body).encode()).hexdigest()
        text = json.dumps(body | {"checksum": checksum}, indent=1, sort_keys=True, allow_nan=False)
        write_whole(self.root / name, (text + "\n").encode())

    def read_json(self, name: str) -> Json:
        """One checked JSON file; UsageError when it was cut or edited."""
        path = self.root / name
        try:
            value = json.loads(path.read_text())
            body = {key: entry for key, entry in value.items() if key != "checksum"}
            intact = value["checksum"] == hashlib.sha256(canonical(body).encode()).hexdigest()
        except (ValueError, KeyError, AttributeError, TypeError):
            intact = False
        if not intact:
            raise UsageError(
                f"{path} was cut or edited (its checksum does not match): delete it and run the suite again"
            )
        return dict(body)

    def write_cell(self, key: str, cell: Json, arrays: dict[str, np.ndarray]) -> None:
        """The arrays first, then the JSON that vouches for them."""
        content = self.write_npz(f"cells/{key}.npz", arrays)
        self.write_json(f"cells/{key}.json", cell | {"key": key, "npz_sha256": hashlib.sha256(content).hexdigest()})

    def write_npz(self, name: str, arrays: dict[str, np.ndarray]) -> bytes:
        """Write arrays, compressed, and return the file's content."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_whole(self.root / name, buffer.getvalue())
        return buffer.getvalue()

    def has(self, folder: str, key: str) -> bool:
        return (self.root / folder / f"{key}.json").is_file()

    def cell(self, key: str) -> Json:
        return self.read_json(f"cells/{key}.json")

    def arrays(self, key: str) -> dict[str, np.ndarray]:
        """The arrays of a cell; UsageError when they are missing or not those the cell vouches for."""
        path = self.root / "cells" / f"{key}.npz"
        expected = self.cell(key)["npz_sha256"]
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != expected:
            raise UsageError(
                f"{path} was cut, edited or lost (its sha256 does not match): delete {key}.json and run the suite again"
            )
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return dict(file)

    def keys(self, folder: str) -> list[str]:
        return sorted(path.stem for path in (self.root / folder).glob("*.json"))

    def suites(self) -> list[Json]:
        """The suites run into this store, each with the keys of its cells."""
        return [self.read_json(f"suites/{name}.json") for name in self.keys("suites")]

    def check(self, keys: Iterable[str]) -> None:
        """Read every cell of these keys, arrays included, and raise at the first that is damaged."""
        for key in keys:
            self.arrays(key)

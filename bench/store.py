"""The store: a folder of cells, each one JSON and one npz, written whole or not at all, sealed, and checked when read.

A seal is the sha256 of all other bytes of its file: of a JSON file its first entry, of an npz the comment of the archive.
"""

import hashlib
import io
import json
import os
import secrets
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scorebench.reference_models.errors import UsageError

from .claims import POLL, Claims

SCHEMA = 2
HEAD = b'{\n "checksum": "'
USE = "the store"  # the claim of who works on it
SEAL = 64  # hexadecimal digits of a sha256
Json = dict[str, Any]
Arrays = dict[str, np.ndarray]


class Damaged(UsageError):
    """A file of the store that is not what was written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{path} was cut, edited or lost (its checksum does not match): run the suite again, which makes it anew"
        )


class Unwritable(UsageError):
    """A file that could not be written: a full disk, a quota, a folder without permission."""


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: what keys hash. Non-finite numbers are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(value: object) -> str:
    """The key of a configuration: 24 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:24]


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there completely or not at all: temporary file, fsync, rename. Unwritable says why not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _unwritable(path, error) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _unwritable(path: Path, error: OSError) -> Unwritable:
    return Unwritable(f"cannot write {path}: {error.strerror or error}; mend that, and the same command continues")


def sealed_json(body: Json) -> bytes:
    """The file of a JSON object that is not empty, its seal first."""
    rest = f'",{json.dumps(body, indent=1, sort_keys=True, allow_nan=False)[1:]}\n'.encode()
    return HEAD + digest_of(rest).encode() + rest


def opened_json(content: bytes) -> Json | None:
    """What was sealed; None when a byte differs."""
    seal, rest = content[len(HEAD) : len(HEAD) + SEAL], content[len(HEAD) + SEAL :]
    if not content.startswith(HEAD) or digest_of(rest).encode() != seal:
        return None
    return {key: value for key, value in json.loads(content).items() if key != "checksum"}


def sealed_npz(arrays: Arrays) -> bytes:
    """The file of compressed arrays, which numpy reads like any other; the last field is the length of the comment.

    At zlib's level 1: random numbers hardly become smaller at numpy's own, which takes longer.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    content = buffer.getvalue()[:-2] + SEAL.to_bytes(2, "little")
    return content + digest_of(content).encode()


def is_sealed_npz(content: bytes) -> bool:
    return len(content) > SEAL and digest_of(content[:-SEAL]).encode() == content[-SEAL:]


class Store:
    """Read and write access to one store folder; it is created by the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def claims(self) -> Claims:
        """What this process holds against others that work on the same store."""
        try:
            return Claims(self.root / "claims")
        except OSError as error:
            raise _unwritable(self.root / "claims", error) from None

    def schema(self) -> int | None:
        """The schema of the store; None where there is none yet."""
        path = self.root / "store.json"
        if not path.is_file():
            return None
        content = path.read_bytes()
        if (body := opened_json(content)) is not None:
            return int(body["schema"])
        if b'"schema": 1\n' in content:  # the first schema had another seal
            return 1
        raise Damaged(path)

    def open_for_reading(self) -> "Store":
        """UsageError unless this is a store of this schema."""
        schema = self.schema()
        if schema is None:
            raise UsageError(f"no store at {self.root}: make one with `scorebench run quick --store {self.root}`")
        if schema != SCHEMA:
            cure = "rewrite it with `scorebench store migrate`" if schema < SCHEMA else "install a newer one"
            raise UsageError(f"store {self.root} has schema {schema}, this scorebench reads {SCHEMA}: {cure}")
        return self

    def check_writable(self) -> None:
        """UsageError where the folder, or the one it would be made in, cannot be written."""
        existing = next(p for p in (self.root, *self.root.absolute().parents) if p.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise UsageError(f"store {self.root}: {existing} is not a writable folder; name another with --store DIR")

    def open_for_writing(self) -> "Store":
        """UsageError, and nothing written, where the folder cannot be written."""
        self.check_writable()
        try:
            if self.schema() is not None:
                return self.open_for_reading()
        except Damaged:
            pass  # the cells say themselves whether they can be used
        self.write_json("store.json", {"schema": SCHEMA})
        return self

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Work on the store, beside others; the first to come and the last to leave sweep it."""
        self._sweep_if_alone()
        while not self.claims.take(USE, shared=True):  # another sweeps
            time.sleep(POLL)
        try:
            yield
        finally:
            self._sweep_if_alone()
            self.claims.free(USE)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Work on the store while nobody else does; UsageError while a run does."""
        if not self.claims.take(USE):
            raise UsageError(f"a run is at work on store {self.root}: wait for it, or stop it")
        try:
            yield
        finally:
            self.claims.free(USE)

    def _sweep_if_alone(self) -> None:
        """Remove what writers left behind that were killed while they wrote."""
        if self.claims.take(USE):
            for path in self.leftovers():
                path.unlink(missing_ok=True)

    def leftovers(self) -> list[Path]:
        """Temporary files."""
        return sorted(self.root.rglob(".*-????????"))

    def write_json(self, name: str, body: Json) -> None:
        write_whole(self.root / name, sealed_json(body))

    def read_json(self, name: str) -> Json:
        """One checked JSON file; Damaged when it is not as it was written."""
        try:
            body = opened_json((self.root / name).read_bytes())
        except FileNotFoundError:
            body = None
        if body is None:
            raise Damaged(self.root / name)
        return body

    def write_npz(self, name: str, arrays: Arrays) -> bytes:
        """Write arrays, compressed and sealed, and return the file's content."""
        content = sealed_npz(arrays)
        write_whole(self.root / name, content)
        return content

    def read_npz(self, name: str, digest: str | None = None) -> Arrays:
        """The checked arrays of a file, which has the digest (sha256) if one is given; Damaged otherwise."""
        with np.load(io.BytesIO(self._intact(name, digest)), allow_pickle=False) as file:
            return dict(file)

    def _intact(self, name: str, digest: str | None) -> bytes:
        path = self.root / name
        content = path.read_bytes() if path.is_file() else b""
        if not is_sealed_npz(content) or digest not in (None, digest_of(content)):
            raise Damaged(path)
        return content

    def reference(self, key: str) -> Arrays | None:
        """Arrays that every cell of a model needs, if the store keeps them undamaged."""
        try:
            return self.read_npz(f"references/{key}.npz")
        except Damaged:
            return None

    def write_cell(self, key: str, cell: Json, arrays: Arrays) -> None:
        """The arrays first, then the JSON that vouches for them."""
        content = self.write_npz(f"cells/{key}.npz", arrays)
        self.write_json(f"cells/{key}.json", cell | {"key": key, "npz_sha256": digest_of(content)})

    def has(self, folder: str, key: str) -> bool:
        return (self.root / folder / f"{key}.json").is_file()

    def cell(self, key: str) -> Json:
        """A cell's JSON; Damaged when it is not as written, or another's."""
        cell = self.read_json(f"cells/{key}.json")
        if cell["key"] != key:
            raise Damaged(self.root / "cells" / f"{key}.json")
        return cell

    def check(self, key: str) -> Json:
        """A cell's JSON once its arrays, too, are those that were written; Damaged otherwise."""
        cell = self.cell(key)
        self._intact(f"cells/{key}.npz", cell["npz_sha256"])
        return cell

    def arrays(self, key: str, cell: Json | None = None) -> Arrays:
        """The arrays of a cell; Damaged when they are missing or not those the cell vouches for."""
        return self.read_npz(f"cells/{key}.npz", (cell or self.cell(key))["npz_sha256"])

    def keys(self, folder: str) -> list[str]:
        return sorted(path.stem for path in (self.root / folder).glob("[!.]*.json"))

    def suites(self) -> list[Json]:
        """The suites run into this store, each with the keys of its cells."""
        return [self.read_json(f"suites/{name}.json") for name in self.keys("suites")]

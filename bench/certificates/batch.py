"""Many certificates at once, on several processes, and the tables that are committed."""

import csv
import json
import multiprocessing
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.registry import find, load_entry_points, load_plugin

from ..processes import die_with_parent
from .certificate import Certificate, certify, certify_foreign, source_of

COLUMNS = ("id", "check", "claimed", "measured", "value", "low", "high", "passed", "source")
PEERS = Path(__file__).with_name("peers.txt")


def peers() -> list[str]:
    """Addresses of the released samplers whose conformance is tabled."""
    return [line for line in PEERS.read_text().splitlines() if line and not line.startswith("#")]


def certify_all(names: list[str], plugins: list[str], workers: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """The facts of a certificate for each registered id or foreign address, as they are done."""
    if len(names) == 1:
        yield _one(names[0], seed)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_prepare, initargs=(plugins,)) as pool:
        for done in as_completed([pool.submit(_one, name, seed) for name in names]):
            yield done.result()


def _prepare(plugins: list[str]) -> None:
    die_with_parent()
    torch.set_num_threads(1)
    load_entry_points()
    for plugin in plugins:
        load_plugin(plugin)


def _one(name: str, seed: int) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that are looked at
        found: Certificate = certify_foreign(name, seed) if ":" in name else certify(find(name), seed=seed)
    return found.facts()


def changed(path: Path) -> list[str]:
    """Registered ids whose code is not the one that a committed table was measured on."""
    kept = {}
    if path.is_file():
        with path.open(newline="") as file:
            kept = {row["id"]: row["source"] for row in csv.DictReader(file)}
    return [id for id, info in SOLVERS.items() if kept.get(id) != source_of(info)]


def write_table(path: Path, certificates: list[dict[str, Any]], keep: bool = False) -> None:
    """One row a verdict, sorted by id; `keep` leaves the rows of other ids that are there."""
    rows = [
        {"id": certificate["id"], "source": certificate["source"], **verdict}
        for certificate in certificates
        for verdict in certificate["verdicts"]
    ]
    done = {certificate["id"] for certificate in certificates}
    if keep and path.is_file():
        with path.open(newline="") as file:
            rows += [row for row in csv.DictReader(file) if row["id"] not in done]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: str(row["id"])))


def write_json(folder: Path, certificate: dict[str, Any]) -> Path:
    """A certificate as a file of its own; gives its path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(c if c.isalnum() or c in "-_.=" else "-" for c in certificate["id"])
    path = folder / f"{name}.json"
    path.write_text(json.dumps(certificate, indent=2, ensure_ascii=False) + "\n")
    return path

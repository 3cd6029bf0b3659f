"""Commits of this project measured by the same suite, each by its own code in a work tree of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import scorebench.bench
from scorebench.reference_models.errors import UsageError

from .store import write_whole
from .suite import Suite

ROUNDS = 3  # more of times that seem slower: only what all of them find slower, too, is a regression
START = "from scorebench.cli import main; main()"


@dataclass(frozen=True)
class Revision:
    """The code of a commit, or of the checkout as it stands, and where its results go."""

    name: str
    tree: Path
    store: Path

    def run(self, arguments: Sequence[str], quiet: bool = False) -> None:
        """One command of this revision's own command line; UsageError with its last line where it fails."""
        environment = os.environ | {"PYTHONPATH": str(self.tree / ".import")}
        command = [sys.executable, "-c", START, *arguments]
        pipe = subprocess.PIPE if quiet else None
        done = subprocess.run(command, cwd=self.tree, env=environment, text=True, stdout=pipe, stderr=subprocess.PIPE)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UsageError(f"{self.name}: {last.removeprefix('scorebench: ')}")

    def measure(self, suite: str, arguments: Sequence[str], say: Callable[[str], None]) -> Path:
        """Run what the store of this revision lacks of a suite, and return the store."""
        say(f"{self.name}: suite {suite}, into {self.store}")
        self.run(["run", suite, "--store", str(self.store.resolve()), *arguments])
        return self.store


def checkout() -> Path:
    """The checkout that this code runs from."""
    return Path(scorebench.bench.__path__[0]).resolve().parent


def commit_of(name: str) -> str | None:
    """The commit that a revision's name stands for; None where it stands for none."""
    return _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")


def revision(name: str, folder: Path) -> Revision | None:
    """A revision with its work tree, made where it is missing; "." is the checkout as it stands, None no revision at all."""
    if name == ".":
        return Revision("the checkout", checkout(), folder / "checkout")
    if (commit := commit_of(name)) is None:
        return None
    place = folder / commit[:12]
    if not (place / "tree/.import").exists():
        _git("worktree", "prune")
        if _git("worktree", "add", "--detach", str((place / "tree").resolve()), commit) is None:
            raise UsageError(f"no work tree of {name} at {place / 'tree'}: remove that folder and try again")
    return Revision(f"{name} ({commit[:12]})", (place / "tree").resolve(), place / "store")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=checkout(), capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def time_again(sides: Sequence[Revision], suite: Suite, say: Callable[[str], None]) -> list[list[Path]]:
    """Run the time pass of a suite ROUNDS times in every revision, in turn, each time afresh; the stores of each round."""
    timed = suite.model_copy(update={"sampling": False, "round_trip": None})
    stores = []
    for number in range(1, ROUNDS + 1):
        say(f"time again, {number} of {ROUNDS}")
        stores.append([side.store.with_name(f"{side.store.name}-time-{number}") for side in sides])
        for side, store in zip(sides, stores[-1], strict=True):
            shutil.rmtree(store, ignore_errors=True)
            path = store.with_suffix(".toml").resolve()
            write_whole(path, text_of(timed).encode())
            side.run(["run", str(path), "--store", str(store.resolve())], quiet=True)
    return stores


def text_of(suite: Suite) -> str:
    """A suite as TOML."""
    return "".join(f"{key} = {_toml(value)}\n" for key, value in suite.model_dump(exclude_none=True).items())


def _toml(value: object) -> str:
    match value:
        case dict():
            return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case _:
            return json.dumps(value)

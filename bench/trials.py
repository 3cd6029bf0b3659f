"""Trials of the store and the runner: runs killed at random, run together, on a full disk, and files that lose a bit.

`python -m scorebench.bench.trials` does all of them with a small suite of its own, and with `--suite quick` kills one run of
that suite alone. It ends with exit code 1 when a table differs from an undisturbed run's in anything but times, when a file is
left half written, or when damage goes unseen.
"""

import argparse
import contextlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .cells import TIMED
from .rows import load_rows
from .store import Damaged, Store
from .upkeep import verify

SUITE = """
name = "trial"
budgets = [2, 4, 6, 8, 10, 12, 14, 16]
models = [{ address = "exact:gmm", n = 48 }, { address = "exact:gaussian", n = 48 }]
solvers = [{ id = "exp-ab2" }, { id = "dpmpp-2m" }, { id = "dpm-solver-3" }, { id = "ddim", options = { eta = 0.5 } },
  { id = "rk45", ladder = [{ rtol = 1e-2, atol = 1e-2 }] }]
[likelihood]
models = ["exact:gmm"]
images = 8
[timing]
models = ["exact:gmm"]
batches = [4]
rounds = 2
"""
COMMAND = [sys.executable, "-c", "from scorebench.cli import main; main()"]
CHANGING = ["started", "seconds", "command"]  # and the values of the time pass


class Trials:
    """A folder with the suite and the store of an undisturbed run, which all others are compared with."""

    def __init__(self, folder: Path, seed: int, suite: str | None = None) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.suite = suite or str(folder / "trial.toml")
        (folder / "trial.toml").write_text(SUITE)
        start = time.monotonic()
        self.must(self.run("whole"), 0)
        self.seconds = time.monotonic() - start
        self.whole = Store(folder / "whole")
        self.table = table(self.whole)
        print(f"an undisturbed run: {len(self.whole.keys('cells'))} cells in {self.seconds:.1f} s")

    def start(self, store: str) -> "subprocess.Popen[str]":
        command = [*COMMAND, "run", self.suite, "--store", str(self.folder / store)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    def run(self, store: str) -> "subprocess.CompletedProcess[str]":
        return finish(self.start(store))

    def must(self, done: "subprocess.CompletedProcess[str]", code: int) -> None:
        if done.returncode != code:
            raise SystemExit(f"trial: exit code {done.returncode}, expected {code}: {done.stderr or done.stdout}")

    def compare(self, store: str) -> None:
        """The store holds what the undisturbed run's does, and nothing else."""
        other = Store(self.folder / store)
        found = verify(other)
        need(not found.damaged and not found.stray, f"{store}: {found}")
        need(other.keys("cells") == self.whole.keys("cells"), f"{store}: cells are lost or too many")
        need(table(other) == self.table, f"{store}: its table differs")
        for key in self.whole.keys("cells"):
            mine, theirs = self.whole.cell(key), other.cell(key)
            timed = mine["config"]["pass"] in TIMED
            need(timed or mine["npz_sha256"] == theirs["npz_sha256"], f"{store}: the arrays of {key} differ")

    def kills(self, count: int, longest: float) -> None:
        """Kill runs with -9 at random moments: the watcher, its child or both. Started again, they end as if nothing was.

        `longest` is how many seconds after its first new cell a run is killed at the latest.
        """
        done, stores, inside = 0, 0, 0
        while done < count:
            stores += 1
            name, finished = f"killed-{stores}", dict[str, int]()
            while True:
                process = self.start(name)
                if done < count and self.kill_at_random(process, self.folder / name, longest):
                    done += 1
                else:
                    self.must(finish(process), 0)
                now = cell_times(self.folder / name)
                need(now.items() >= finished.items(), f"{name}: a finished cell was measured again")
                inside, finished = inside + (now != finished), now
                need(not verify(Store(self.folder / name)).damaged, f"{name}: a file is damaged") if now else None
                if process.returncode == 0:
                    break
            self.compare(name)
        print(
            f"{done} kills, {inside} runs that had finished cells, {stores} stores: all as undisturbed, no cell twice"
        )

    def kill_at_random(self, process: "subprocess.Popen[str]", store: Path, longest: float) -> bool:
        """Kill after a random time, mostly counted from the first cell of this run; False if it had finished."""
        before, end = cell_times(store), time.monotonic() + 60
        if self.random.random() < 0.8:
            while cell_times(store) == before and process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
            wait = self.random.uniform(0, longest)
        else:
            wait = self.random.uniform(0, 4 * longest)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait)
        if process.poll() is not None:
            return False
        children = children_of(process.pid)
        whom = self.random.choice(["both", "watcher", "child"] if children else ["watcher"])
        if whom == "both":
            os.killpg(process.pid, signal.SIGKILL)
        elif whom == "watcher":
            process.kill()
        else:
            return self.kill_child(process, children)
        process.communicate()
        while any(alive(child) for child in children):  # the orphan sees that it is one, and ends
            time.sleep(0.01)
        return True

    def kill_child(self, process: "subprocess.Popen[str]", children: list[int]) -> bool:
        """The watcher of a killed child goes on by itself, and the cell in hand is a failure: kill it too, a moment later."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(children[-1], signal.SIGKILL)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return True

    def interrupts(self, count: int) -> None:
        """Ctrl-C: one line, exit code 130, nothing half written; the same command goes on."""
        for number in range(count):
            name = f"interrupted-{number}"
            process = self.start(name)
            while len(cell_times(self.folder / name)) < self.random.randint(1, 60) and process.poll() is None:
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGINT)
            done = finish(process)
            self.must(done, 130)
            need(done.stderr.count("\n") == 1, f"{name}: more than one line: {done.stderr}")
            found = verify(Store(self.folder / name))
            need(not found.damaged and not [s for s in found.stray if "/." in s], f"{name}: {found}")
            self.must(self.run(name), 0)
            self.compare(name)
        print(f"{count} interrupted by Ctrl-C: one line each, nothing half written, then as undisturbed")

    def together(self, count: int) -> None:
        """Two runs at once on one store measure every cell once; where one is killed, the other takes its cells over."""
        shares = []
        for number in range(count):
            name = f"together-{number}"
            both = [self.start(name), self.start(name)]
            done = [finish(process) for process in both]
            new = [int(re.findall(r"(\d+) new", d.stdout)[0]) for d in done if d.returncode == 0]
            need(len(new) == 2 and sum(new) == len(self.whole.keys("cells")), f"{name}: {new} new cells, {done}")
            self.compare(name)
            shares.append("+".join(map(str, new)))
        name = "together-killed"
        both = [self.start(name), self.start(name)]
        while len(cell_times(self.folder / name)) < 20:
            time.sleep(0.01)
        os.killpg(both[0].pid, signal.SIGKILL)
        both[0].communicate()
        self.must(finish(both[1]), 0)
        self.compare(name)
        print(f"{count} times two runs together, cells {', '.join(shares)}, and once one of two killed: as undisturbed")

    def full_disk(self) -> None:
        """A store on a disk too small for it: one line, nothing damaged; with more room, the same command goes on."""
        disk = self.folder / "disk"
        disk.mkdir()
        small = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(disk)]
        mounted = subprocess.run(small, capture_output=True).returncode == 0
        limit = (3000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        try:
            with contextlib.nullcontext() if mounted else file_limit(limit):
                done = self.run("disk")
            self.must(done, 2)
            need(done.stderr.count("\n") == 1 and "cannot write" in done.stderr, f"full disk: {done.stderr}")
            found = verify(Store(disk))
            need(found.cells > 0 and not found.damaged, f"full disk: {found}")
            if mounted:
                subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            self.must(self.run("disk"), 0)
            self.compare("disk")
        finally:
            if mounted:
                subprocess.run(["umount", str(disk)], check=True)
        kind = "a tmpfs of 160 kB" if mounted else "a limit on the size of files"
        print(f"disk full ({kind}) after {found.cells} cells: {done.stderr.strip()!r}; then as undisturbed")

    def damage(self, count: int) -> None:
        """Flip a bit in or cut many cell files: verify names each, reports refuse, and a run makes those cells anew."""
        shutil.copytree(self.whole.root, self.folder / "damaged")
        store = Store(self.folder / "damaged")
        chosen = self.random.sample(sorted(store.root.glob("cells/*")), count)
        for path in chosen:
            content = bytearray(path.read_bytes())
            place = self.random.randrange(len(content))
            if self.random.random() < 0.5:
                content[place] ^= 1 << self.random.randrange(8)
            path.write_bytes(content if content != path.read_bytes() else content[:place])
        keys = {path.stem for path in chosen}
        found = sorted(verify(store).damaged)
        need(found == sorted(f"cells/{path.name}" for path in chosen), f"found {len(found)} of {count} damaged files")
        with contextlib.suppress(Damaged):
            need(not len(load_rows(store)), "rows of a damaged store")
        done = self.run("damaged")
        self.must(done, 0)
        need(f"{len(keys)} new" in done.stdout, f"damaged: expected {len(keys)} new cells: {done.stdout[-200:]}")
        need(done.stdout.count("is damaged") == len(keys), f"damaged: not every cell is said: {done.stdout}")
        self.compare("damaged")
        print(
            f"{count} damaged files of {len(keys)} cells: all found, all these cells measured anew, then as undisturbed"
        )


def table(store: Store) -> str:
    """All rows as text, without what no two runs share."""
    rows = load_rows(store).drop(columns=CHANGING, errors="ignore")
    rows.loc[rows["pass"].isin(TIMED), ["value", "low", "high"]] = 0.0
    rows.loc[rows["pass"].isin(TIMED), "message"] = ""  # how many rounds ran beside other work
    return rows.to_csv(index=False)


def finish(process: "subprocess.Popen[str]") -> "subprocess.CompletedProcess[str]":
    out, err = process.communicate(timeout=3600)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def cell_times(store: Path) -> dict[str, int]:
    """When each cell was written."""
    return {path.stem: path.stat().st_mtime_ns for path in (store / "cells").glob("[!.]*.json")}


def children_of(pid: int) -> list[int]:
    """The child processes of a process, the oldest first."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(child) for child in listed.stdout.split()]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text()


def need(fine: object, what: str) -> None:
    if not fine:
        raise SystemExit(f"trial: {what}")


@contextlib.contextmanager
def file_limit(limit: tuple[int, int]) -> Iterator[None]:
    """No file larger than so many bytes may be written by the processes started meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--suite", help="kill one run of this suite, and nothing else")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder), chosen.seed, chosen.suite)
        if chosen.suite:
            trials.kills(chosen.kills, 1.2 * trials.seconds / chosen.kills)
        else:
            trials.damage(200)
            trials.full_disk()
            trials.interrupts(3)
            trials.together(3)
            trials.kills(chosen.kills, 0.3 * trials.seconds)


if __name__ == "__main__":
    main()

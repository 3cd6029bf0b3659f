"""Trials of `scorebench compare`: how often it cries wolf, and which planted regressions it names.

`python -m scorebench.cli.compare_trials FOLDER` measures the exact models of the suite `gate` with 25 seeds and compares all
300 pairs, where nothing differs but chance; then plants each regression of planted.toml in a copy of the sources and compares
that with the sources as they are. It continues where it stopped; exit code 1 after more than one false alarm or one miss.
"""

import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from scorebench.bench.revisions import ROUNDS, Revision, checkout, text_of, time_again
from scorebench.bench.suite import load_suite
from scorebench.reference_models.errors import UsageError
from scorebench.reports.compare.comparison import Comparison, compare
from scorebench.reports.compare.levels import confirmed
from scorebench.reports.compare.side import read

SEEDS = 25  # 300 pairs
SUITE, EXACT = "gate", ["exact:gmm", "exact:gmm?process=ve"]
PARTS = ("reference_models", "solvers", "bench", "reports", "cli")


@dataclass(frozen=True)
class Planted:
    """A regression: what is replaced in which file, and who must be named, "" for anyone."""

    about: str
    file: str
    solver: str
    old: str
    new: str

    def into(self, folder: Path) -> Path:
        """A copy of the sources with it; UsageError where they have no such piece."""
        for part in PARTS:
            shutil.copytree(checkout() / part, folder / part, ignore=shutil.ignore_patterns("weights", "__pycache__"))
        (folder / "reference_models/weights").symlink_to(checkout() / "reference_models/weights")
        (folder / ".import").mkdir()
        (folder / ".import/scorebench").symlink_to(folder)
        source = (folder / self.file).read_text()
        if self.old not in source:
            raise UsageError(f"planted regression {self.about!r}: {self.file} has no {self.old!r}")
        (folder / self.file).write_text(source.replace(self.old, self.new))
        return folder


def planted() -> list[Planted]:
    """The committed list."""
    text = Path(__file__).with_name("planted.toml").read_text()
    return [Planted(**entry) for entry in tomllib.loads(text)["regression"]]


def pairs(folder: Path) -> Iterator[Comparison]:
    """Comparisons of runs that differ in nothing but their seed."""
    suite, here = load_suite(SUITE).select(EXACT, [], []), checkout()
    for seed in range(SEEDS):
        path = folder / f"seed-{seed}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of(suite.model_copy(update={"seed": seed})))
        Revision(f"seed {seed}", here, path.with_suffix("")).measure(str(path), [], print)
    sides = [read(str(folder / f"seed-{seed}")) for seed in range(SEEDS)]
    for base, new in combinations(range(SEEDS), 2):
        found = compare(sides[base], sides[new])
        again = [
            (sides[(base + k) % SEEDS], sides[(new + k) % SEEDS]) for k in range(1, ROUNDS + 1)
        ]  # times are of the same work
        yield replace(found, findings=confirmed(found.findings, again))


def caught(folder: Path, regression: Planted) -> list[str]:
    """Who is named by which levels when the sources with a regression are compared with those without."""
    base = Revision("the checkout", checkout(), folder / "base")
    shutil.rmtree(folder / "tree", ignore_errors=True)
    new = Revision(regression.about, regression.into(folder / "tree"), folder / "new")
    shutil.rmtree(new.store, ignore_errors=True)
    was, now = (read(str(side.measure(SUITE, [], lambda _: None))) for side in (base, new))
    first = compare(was, now)
    if not first.regressed and any(f.level == "time" for f in first.findings):
        rounds = time_again([base, new], load_suite(SUITE), lambda _: None)
        again = [(read(str(one)), read(str(other))) for one, other in rounds]
        first = replace(first, findings=confirmed(first.findings, again))
    named = [f for f in first.of("regression") if regression.solver in ("", f.solver)]
    return sorted({f"{f.level}: {f.measure}" for f in named})


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/local/compare-trials").resolve()
    alarms = [comparison for comparison in pairs(folder) if comparison.regressed]
    for comparison in alarms:
        print(comparison.summary(), comparison.of("regression")[0])
    print(f"{len(alarms)} false alarms in {SEEDS * (SEEDS - 1) // 2} pairs", flush=True)
    every, missed = planted(), 0
    for regression in every:
        named = caught(folder, regression)
        missed += not named
        print(f"{'caught' if named else 'MISSED'}  {regression.about}  [{'; '.join(named[:4])}]", flush=True)
    print(f"{len(every) - missed} of {len(every)} caught")
    return int(len(alarms) > 1 or missed > 1)


if __name__ == "__main__":
    sys.exit(main())

"""How often the 95 % intervals of metrics hold the truth: replications on the mixture, as the suites measure it.

    python -m scorebench.bench.coverage --table results/coverage.csv

Each replication has latents of its own, which two solvers, a reference and a stochastic solver carry to samples; features
are fixed random ones. Truths come from a pool of samples beside them: for the expectation of FID at n, the mean over sets of
n of the pool; for distances of the distributions themselves, the whole pool. Exit code 1 where an interval covers less than
90 % or more than 99 %.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import ExactModel
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

from . import jackknife, pairing
from .distances import Frechet, Gauss, Kernel
from .features import exact_draws
from .jackknife import KEPT, Jackknifed
from .measure import noise_seed
from .references import latents, rms

SOLVERS = {"ddim": ("ddim", 10), "exp-ab2": ("exp-ab2", 10), "reference": ("exp-ab3", 25)}
N, SETS, WIDTH = 1000, 300, 16  # samples of a replication, such sets in the pool, features
FEW, NOISES = 200, 5  # samples and noise seeds of the stochastic solver
LIMITS = (0.90, 0.99)


@dataclass(frozen=True)
class Judged:
    """One estimator: its intervals (r, 3) as (value, low, high), and what they should hold."""

    estimator: str
    what: str
    truth: float
    intervals: np.ndarray

    def row(self) -> dict[str, object]:
        value, low, high = self.intervals.T
        inside = (low <= self.truth) & (self.truth <= high)
        count, total = int(inside.sum()), len(inside)
        share = stats.binomtest(count, total).proportion_ci(method="exact")
        return {
            "estimator": self.estimator, "holds": self.what, "truth": self.truth, "mean": value.mean(), "sd": value.std(ddof=1),
            "half_width": (high - low).mean() / 2, "replications": total, "coverage": count / total,
            "low": share.low, "high": share.high, "fine": LIMITS[0] <= count / total <= LIMITS[1],
        }  # fmt: skip


def jackknifed(estimator: str, what: str, truth: float, found: Sequence[Jackknifed]) -> Judged:
    return Judged(estimator, what, truth, np.array([one.interval() for one in found]))


def differences(estimator: str, truth: float, values: np.ndarray, paired: Sequence[pairing.Paired]) -> Judged:
    """Of values (r, 2) of two entries, as verdicts judge them: their difference, or the logarithm of their ratio."""
    gap = np.array([np.subtract(*p.scaled(pair)) for p, pair in zip(paired, values, strict=True)])
    half = np.array([p.critical(1) * p.deviation(1)[0] for p in paired])
    what = "the logarithm of the ratio" if paired[0].ratios else "the difference"
    return Judged(estimator, what, truth, np.stack([gap, gap - half, gap + half], 1))


class World:
    """The mixture, its samples by each solver as features, and their errors: replications (r, N, ·), and the pool's."""

    def __init__(self, replications: int) -> None:
        model = load_model("exact:gmm")
        assert isinstance(model, ExactModel)
        self.model, self.replications = model, replications
        generator = torch.Generator().manual_seed(0)
        self.a = 1.5 * torch.randn(2, WIDTH, generator=generator, dtype=torch.float64)
        self.b = torch.randn(WIDTH, generator=generator, dtype=torch.float64)
        x = latents(model, (replications + SETS) * N, 1, torch.float32)
        ends = {name: self.carried(x, *how) for name, how in SOLVERS.items()}
        self.errors = {name: rms(ends[name], ends["reference"]).reshape(-1, N) for name in ("ddim", "exp-ab2")}
        self.features = {name: self.looked_at(end).reshape(-1, N, WIDTH) for name, end in ends.items()}
        self.target = Gauss.fitted(self.draws(4096, 0))

    def carried(self, x: Tensor, solver: str, steps: int) -> Tensor:
        p = self.model.process
        grid = make_grid("logsnr", p, steps, p.t_max, p.t_min)
        with torch.no_grad():
            return torch.cat([solve(self.model, find(solver), grid, part).x for part in x.split(20 * N)])

    def stochastic(self, number: int) -> np.ndarray:
        """Features (r, FEW, ·) of the same latents with noise of its own for each number."""
        p, count = self.model.process, self.replications * FEW
        x, grid = latents(self.model, count, 2, torch.float32), make_grid("logsnr", p, 10, p.t_max, p.t_min)
        noise = Noise(noise_seed(2, number), torch.arange(count), self.model.shape, torch.float32)
        with torch.no_grad():
            end = solve(self.model, find("ddim"), grid, x, options={"eta": 1.0}, noise=noise).x
        return self.looked_at(end).reshape(-1, FEW, WIDTH)

    def looked_at(self, x: Tensor) -> np.ndarray:
        return np.asarray(torch.tanh(x.double() @ self.a + self.b).numpy())

    def draws(self, n: int, seed: int) -> np.ndarray:
        return self.looked_at(exact_draws(self.model, n, seed=1000 + seed))

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Replications (r, N, ·) and the pool (SETS, N, ·)."""
        return self.features[name][: self.replications], self.features[name][self.replications :]


def judge(replications: int, say: Callable[[str], None] = print) -> pd.DataFrame:
    """The table of all estimators."""
    world = World(replications)
    say("samples made")
    names = list(SOLVERS)
    fid = {name: [Frechet(x, world.target) for x in world.split(name)[0]] for name in names}
    pool = {name: world.split(name)[1] for name in names}
    expected = {name: float(np.mean([Frechet(x, world.target).of(KEPT[0]) for x in pool[name]])) for name in names}
    true = {name: Frechet(x.reshape(-1, WIDTH), world.target).of(KEPT[0]) for name, x in pool.items()}
    found = []
    for name in names[:2]:
        excess = [one.raw - other.raw for one, other in zip(fid[name], fid["reference"], strict=True)]
        found += [
            jackknifed(f"fid of {name}", "E FID_n", expected[name], [one.raw for one in fid[name]]),
            jackknifed(f"fid_corrected of {name}", "FID", true[name], [one.corrected for one in fid[name]]),
            jackknifed(f"excess_fid of {name}", "FID − FID of the reference", true[name] - true["reference"], excess),
        ]
    say("FID judged")
    found += [*kids(world), noises(world)]
    say("KID and noise seeds judged")
    found += [fid_difference(fid, true), error_difference(world)]
    return pd.DataFrame([one.row() for one in found])


def kids(world: World) -> list[Judged]:
    """KID to real draws that are new in each replication; its truth from the first three moments of both pools."""
    law, judged = moments(world.draws(SETS * N, 1)), []
    real = [Kernel(world.draws(N, 2 + r)) for r in range(world.replications)]
    for name in ("ddim", "exp-ab2"):
        own, pool = world.split(name)
        mine = moments(pool.reshape(-1, WIDTH))
        truth = kernel(mine, mine) + kernel(law, law) - 2 * kernel(mine, law)
        values = [side.distance(x) for side, x in zip(real, own, strict=True)]
        judged.append(jackknifed(f"kid of {name}", "KID", truth, values))
    return judged


def moments(x: np.ndarray) -> list[np.ndarray]:
    """E x, E x⊗x and E x⊗x⊗x of features (n, k)."""
    second = [(part[:, :, None] * part[:, None, :]).reshape(len(part), -1) for part in np.array_split(x, 100)]
    third = sum(two.T @ part for two, part in zip(second, np.array_split(x, 100), strict=True))
    return [x.mean(0), x.T @ x / len(x), np.asarray(third) / len(x)]


def kernel(one: list[np.ndarray], two: list[np.ndarray]) -> float:
    """E (x·y/k + 1)³ for independent x and y with these moments."""
    dots = [float((a * b).sum()) / WIDTH**power for power, (a, b) in enumerate(zip(one, two, strict=True), 1)]
    return float(1 + 3 * dots[0] + 3 * dots[1] + dots[2])


def noises(world: World) -> Judged:
    """Mean FID over noise seeds; its truth is the mean over the replications themselves."""
    seeds = [[Frechet(x, world.target).raw for x in world.stochastic(number)] for number in range(NOISES)]
    found = [jackknife.mean(parts) for parts in zip(*seeds, strict=True)]
    truth = float(np.mean([one.value for one in found]))
    return jackknifed(f"fid of ddim (eta=1), {NOISES} noise seeds", "E FID_n", truth, found)


def fid_difference(fid: dict[str, list[Frechet]], true: dict[str, float]) -> Judged:
    pairs = [(one.raw, two.raw) for one, two in zip(fid["ddim"], fid["exp-ab2"], strict=True)]
    values = np.array([(one.value, two.value) for one, two in pairs])
    judges = [pairing.by_group(np.stack([one.without, two.without])) for one, two in pairs]
    return differences("fid, ddim − exp-ab2, paired", true["ddim"] - true["exp-ab2"], values, judges)


def error_difference(world: World) -> Judged:
    both = np.stack([world.errors["ddim"], world.errors["exp-ab2"]], 1)  # (r + SETS, 2, N)
    own, pool = both[: world.replications], both[world.replications :].transpose(1, 0, 2).reshape(2, -1)
    truth = float(np.subtract(*np.log(np.median(pool, axis=1))))
    judges = [pairing.by_sample(errors, pairing.median, ratios=True) for errors in own]
    return differences("error_median, ddim ÷ exp-ab2, paired", truth, np.median(own, axis=2), judges)


def main() -> None:
    parser = argparse.ArgumentParser(description="Coverage of the metrics' 95 % intervals.")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--replications", type=int, default=200)
    chosen = parser.parse_args()
    table = judge(chosen.replications)
    print(table[["estimator", "holds", "coverage", "low", "high", "fine"]].to_string(index=False))
    if chosen.table is not None:
        table.to_csv(chosen.table, index=False, float_format="%.4g")
    raise SystemExit(int(not table["fine"].all()))


if __name__ == "__main__":
    main()

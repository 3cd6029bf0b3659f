"""What a certificate looks at beside orders: cost, batches, end points, parameterisations, σ → 0, host reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import ExactModel, Model
from scorebench.reference_models.parameterisation import Prediction, broadcast, from_x0, to_x0
from scorebench.reference_models.process import Process
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SolverInfo
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Count, Problem

from .trajectory import DOUBLE, ends, mixture
from .watched import Watched, pause, watch

Options = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One line of a certificate: what was looked at, what is claimed, what was measured, and whether that holds.

    `passed` is None where there is nothing to claim: the line informs. `ladder` holds the errors behind an order.
    """

    check: str
    claimed: str
    measured: str
    passed: bool | None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    ladder: tuple[tuple[float, float], ...] = ()


class Reparameterised:
    """A model whose D goes through the prediction of another kind and back, as a network of that kind would give it."""

    def __init__(self, model: Model, kind: Prediction) -> None:
        self.name, self.process, self.shape, self.data, self.model, self.kind = (
            model.name, model.process, model.shape, model.data, model, kind
        )  # fmt: skip

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        p = self.process
        alpha, sigma = broadcast(p.alpha(t), x), broadcast(p.sigma(t), x)
        prediction = from_x0(self.kind, self.model.denoise(x, t), x, alpha, sigma)
        return to_x0(self.kind, prediction, x, alpha, sigma)


def start(model: ExactModel, n: int, t: float, seed: int) -> tuple[Tensor, Noise]:
    """n exact samples of p_t with their noise (n, 2)."""
    generator, p, time = torch.Generator().manual_seed(seed), model.process, torch.tensor(t, dtype=DOUBLE)
    x0 = model.samples(n, generator)
    x = p.alpha(time) * x0 + p.sigma(time) * torch.randn(x0.shape, generator=generator, dtype=DOUBLE)
    return x, Noise(seed, torch.arange(n), model.shape)


def distance(a: Tensor, b: Tensor) -> float:
    """|a − b| relative to |b|; infinite where a is not finite."""
    return float((a - b).norm() / b.norm()) if bool(torch.isfinite(a).all()) else float("inf")


def cost(info: SolverInfo, options: Options, seed: int = 0) -> Iterator[Verdict]:
    """Network calls counted against the declared rule, at three numbers of steps."""
    if info.calls_per_step is None:
        return
    model = mixture("vp")
    p, found, rule = model.process, [], []
    for steps in (info.least_steps, info.least_steps + 3, info.least_steps + 8):
        x, noise = start(model, 2, p.t_max, seed)
        grid = make_grid("logsnr", p, steps, p.t_max, p.t_min)
        found.append(int(solve(model, info, grid, x, options=options, noise=noise).count.evaluations.max()))
        rule.append(info.calls(steps))
    yield Verdict("network calls", f"{rule}", f"{found}", found == rule)


def batches(info: SolverInfo, options: Options, seed: int = 0) -> Iterator[Verdict]:
    """The same samples alone, in two batches and in one: no result may depend on its company."""
    model = mixture("vp")
    p = model.process
    x, _ = start(model, 5, p.t_max, seed)
    grid = make_grid("logsnr", p, max(6, info.least_steps), p.t_max, p.t_min)

    def run(rows: Tensor) -> Tensor:
        noise = Noise(seed, rows, model.shape)
        return solve(model, info, grid, x[rows], options=options, noise=noise).x

    whole = run(torch.arange(5))
    parts = torch.cat([run(rows) for rows in (torch.tensor([0]), torch.tensor([1, 2]), torch.tensor([3, 4]))])
    found = distance(parts, whole)
    yield Verdict("split batches", "< 1e-10", f"{found:.0e}", found < 1e-10, found)


def end_points(info: SolverInfo, options: Options, seed: int = 0) -> Iterator[Verdict]:
    """Every step ends on its grid time, and the network is never called outside the grid's ends."""
    model = mixture("vp")
    p, times = model.process, []

    class Recorded(Problem):
        def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
            times.extend(torch.as_tensor(t, dtype=DOUBLE).flatten().tolist())
            return super().denoise(x, t)

    x, noise = start(model, 3, p.t_max, seed)
    grid = make_grid("logsnr", p, max(7, info.least_steps), p.t_max, p.t_min)
    problem = Recorded(model, Count(torch.zeros(3, dtype=torch.int64)), noise)
    reached = [t for t, _ in info.method(problem, x, grid, **options)]
    last = torch.as_tensor(reached[-1], dtype=DOUBLE)
    arrived = bool((last == grid[-1]).all()) if info.adaptive else reached == grid.tolist()[1:]
    yield Verdict("ends of steps", "on the grid", "on the grid" if arrived else f"{reached[-1]}", arrived)
    slack = 1e-9
    inside = min(times) >= p.t_min * (1 - slack) and max(times) <= p.t_max * (1 + slack)
    yield Verdict("calls within the grid", "yes", f"t in [{min(times):.3g}, {max(times):.3g}]", inside)


def parameterisations(info: SolverInfo, options: Options, seed: int = 0) -> Iterator[Verdict]:
    """The same denoiser as ε, x0, v, score and velocity: only round-off may differ."""
    model = mixture("vp")
    first, last = ends(model.process)
    x, noise = start(model, 4, first, seed)
    grid = make_grid("logsnr", model.process, max(8, info.least_steps), first, last)
    plain = solve(model, info, grid, x, options=options, noise=noise).x
    kinds: tuple[Prediction, ...] = get_args(Prediction)
    found = max(
        distance(solve(Reparameterised(model, kind), info, grid, x, options=options, noise=noise).x, plain)
        for kind in kinds
    )
    yield Verdict("parameterisations agree", "< 1e-9", f"{found:.0e}", found < 1e-9, found)


def coordinates(info: SolverInfo, options: Options, seed: int = 0) -> Iterator[Verdict]:
    """The same σ̂ grid under VP and VE: whether the method sees the process only through σ/α. No claim, a fact."""
    if info.adaptive or info.stochastic(options):
        return
    found = []
    for name in ("vp", "ve"):
        model = mixture(name)
        p: Process = model.process
        grid = make_grid("karras", p, max(8, info.least_steps), *ends(p))
        x, _ = start(mixture("edm"), 4, float(p.sigma_hat(grid[0])), seed)
        found.append(solve(model, info, grid, x * p.alpha(grid[0]), options=options).x / p.alpha(grid[-1]))
    difference = distance(found[1], found[0])
    text = f"only through σ/α ({difference:.0e})" if difference < 1e-9 else f"by its time too ({difference:.0e})"
    yield Verdict("sees the process", "", text, None, difference)


def vanishing_noise(info: SolverInfo, options: Options, seed: int = 0) -> Iterator[Verdict]:
    """From σ̂ = 1e-2 down to 1e-6 in eight steps a sample in 16 dimensions moves no further than its noise lets it."""
    model = load_model("exact:gaussian")
    assert isinstance(model, ExactModel)
    p = model.process
    first, last = p.t_of_sigma_hat(torch.tensor([1e-2, 1e-6], dtype=DOUBLE)).tolist()
    x, noise = start(model, 16, first, seed)
    grid = make_grid("logsnr", p, max(8, info.least_steps), first, last)
    with torch.no_grad():
        end = solve(model, info, grid, x, options=options, noise=noise).x
    moved = float((end - x).norm(dim=1).max()) if bool(torch.isfinite(end).all()) else float("inf")
    limit = 0.1 if info.order else float("inf")  # a corrector moves along the data: it need only stay finite
    yield Verdict("σ → 0", f"moves < {limit:g}", f"moves {moved:.1e}", moved < limit, moved)


def host_reads(info: SolverInfo, options: Options, seed: int = 0) -> Iterator[Verdict]:
    """Reads of the state by the host inside the loop; methods whose steps depend on the data are exempt."""
    if info.adaptive:
        return
    model = mixture("vp")
    p = model.process

    class Quiet(Problem):
        def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
            with pause():
                return super().denoise(x, t)

    x, noise = start(model, 3, p.t_max, seed)
    problem = Quiet(model, Count(torch.zeros(3, dtype=torch.int64)), noise)
    grid = make_grid("logsnr", p, max(6, info.least_steps), p.t_max, p.t_min)
    for _ in info.method(problem, watch(x), grid, **options):
        pass
    reads = sorted(set(Watched.reads))
    yield Verdict("host reads in the loop", "none", ", ".join(reads) or "none", not reads)


CHECKS = (cost, batches, end_points, parameterisations, coordinates, vanishing_noise, host_reads)

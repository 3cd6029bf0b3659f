"""Adaptive integration of the probability-flow ODE of `exact:ppca-fashion` at equal achieved error, and what stragglers cost.

Every library has Dormand and Prince's pair at a ladder of tolerances, float64, from t_max to t_min. The error is the median
over samples of |x − truth| / |truth| against `dop853` at 1e-10; calls are interpolated to the error of 4e-4 in both logarithms.
torchdiffeq has one step for the whole batch and goes past the end, where the process is not defined: there t is held at t_min.
"""

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import Model
from scorebench.solvers.drive import solve
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import of_velocity
from scorebench.solvers.registry import find

from .peer_timing import Row, figure

SAMPLES, TARGET = 16, 4e-4
FAR = 20.0  # times its size is the straggler's latent
LADDER = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)  # rtol; atol is a thousandth


class Watched:
    """The model, its mean evaluations of a sample, and the CPU seconds spent in it."""

    data: str | None = None

    def __init__(self, model: Model) -> None:
        self.model, self.name, self.process, self.shape = model, model.name, model.process, model.shape
        self.evaluations, self.seconds = 0.0, 0.0

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        self.evaluations += len(x) / SAMPLES
        started = time.process_time()
        out = self.model.denoise(x, t)
        self.seconds += time.process_time() - started
        return out

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """dx/dt at x (b, *d) and t () or (b,)."""
        of_x, of_d = of_velocity(self.process, t.clamp_min(self.process.t_min))
        wide = (-1, *[1] * (x.ndim - 1))
        return of_x.reshape(wide) * x + of_d.reshape(wide) * self.denoise(x, t.clamp_min(self.process.t_min))


Integrate = Callable[[Watched, Tensor, Tensor, float], Tensor]  # from grid[0] to grid[1] at a tolerance


def ours(model: Watched, x: Tensor, grid: Tensor, rtol: float) -> Tensor:
    return solve(model, find("rk45"), grid, x, options={"rtol": rtol, "atol": rtol / 1000}).x


def scipy(model: Watched, x: Tensor, grid: Tensor, rtol: float) -> Tensor:
    """Sample by sample, as its steps are those of one system."""
    ends = []
    for row in x:

        def slope(t: float, y: np.ndarray, shape: torch.Size = row.shape) -> np.ndarray:
            at = torch.from_numpy(y).reshape(1, *shape)
            return np.asarray(model.velocity(at, torch.tensor(t, dtype=torch.float64)).flatten().numpy())

        found = solve_ivp(slope, grid.tolist(), row.flatten().numpy(), "RK45", rtol=rtol, atol=rtol / 1000)
        ends.append(torch.from_numpy(found.y[:, -1]).reshape(row.shape))
    return torch.stack(ends)


def torchdiffeq(model: Watched, x: Tensor, grid: Tensor, rtol: float) -> Tensor:
    library: Any = importlib.import_module("torchdiffeq")
    found = library.odeint(lambda t, y: model.velocity(y, t), x, grid, rtol=rtol, atol=rtol / 1000, method="dopri5")
    end: Tensor = found[-1]
    return end


def torchode(model: Watched, x: Tensor, grid: Tensor, rtol: float) -> Tensor:
    library: Any = importlib.import_module("torchode")
    term = library.ODETerm(lambda t, y: model.velocity(y.reshape(x.shape), t).flatten(1))
    controller = library.IntegralController(atol=rtol / 1000, rtol=rtol, term=term)
    adjoint = library.AutoDiffAdjoint(library.Dopri5(term=term), controller)
    problem = library.InitialValueProblem(y0=x.flatten(1), t_eval=grid.expand(len(x), 2).contiguous())
    found: Tensor = adjoint.solve(problem).ys[:, -1]
    return found.reshape(x.shape)


PEERS: dict[str, Integrate] = {"scorebench": ours, "scipy": scipy, "torchdiffeq": torchdiffeq, "torchode": torchode}


def contenders() -> dict[str, Integrate]:
    return {name: run for name, run in PEERS.items() if name == "scorebench" or importlib.util.find_spec(name)}


def measure(number: int) -> Iterator[Row]:
    model = load_model("exact:ppca-fashion")
    p = model.process
    x, grid = Noise(0, torch.arange(SAMPLES), model.shape).latents(), torch.tensor([p.t_max, p.t_min]).double()
    truth = solve(model, find("dop853"), grid, x, options={"rtol": 1e-10, "atol": 1e-13}).x
    runs, times = {}, {}
    with torch.no_grad():
        for name, integrate in contenders().items():
            runs[name] = [once(model, integrate, x, grid, truth, rtol) for rtol in LADDER]
            times[name] = [once(model, integrate, x, grid, truth, 1e-3)[2] for _ in range(max(3, number // 10))]
    for name, ladder in runs.items():
        calls, error = np.array([run[0] for run in ladder]), np.array([run[1] for run in ladder])
        at = float(np.exp(np.interp(np.log(TARGET), np.log(error[::-1]), np.log(calls[::-1]))))
        yield Row("adaptive", f"error {TARGET:g}", name, "mean evaluations", "", at, at, at, note=told(calls, error))
    for name, own in times.items():
        ratio = float(np.median(own) / np.median(times["scorebench"]))
        per = 1e3 * np.asarray(own)
        yield figure("adaptive", "rtol 1e-3", name, "outside the network", f"ms CPU / {SAMPLES}", per, ratio=ratio)
    yield from stragglers(model)


def once(
    model: Model, integrate: Integrate, x: Tensor, grid: Tensor, truth: Tensor, rtol: float
) -> tuple[float, float, float]:
    """Mean evaluations of a sample, median relative error, and CPU seconds outside the network."""
    watched = Watched(model)
    started = time.process_time()
    end = integrate(watched, x, grid, rtol)
    outside = time.process_time() - started - watched.seconds
    far = (end - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
    return watched.evaluations, float(far.median()), outside


def told(calls: np.ndarray, error: np.ndarray) -> str:
    return ", ".join(f"{n:.1f}: {e:.1e}" for n, e in zip(calls, error, strict=True))


def stragglers(model: Model) -> Iterator[Row]:
    """A batch in which one sample is far from the data: what the others cost when it sets their steps, and when it does not."""
    p = model.process
    x = Noise(0, torch.arange(SAMPLES), model.shape).latents()
    x[0] *= FAR
    grid = torch.tensor([p.t_max, p.t_min], dtype=torch.float64)
    for name, integrate in contenders().items():
        watched = Watched(model)
        with torch.no_grad():
            integrate(watched, x, grid, 1e-3)
        n = watched.evaluations
        yield Row("adaptive", f"one latent {FAR:g} times", name, "mean evaluations", "", n, n, n, note="rtol 1e-3")

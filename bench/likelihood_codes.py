"""Round trips x₀ → x_T → x₀ against network calls, for every deterministic solver; and interpolations between codes.

python -m scorebench.bench.likelihood_codes              digits-vp, 50 calls there and back
python -m scorebench.bench.likelihood_codes MODEL CALLS [FILE.png]
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import Model
from scorebench.solvers.facts import SOLVERS, SolverInfo
from scorebench.solvers.grids import make_grid
from scorebench.solvers.latent_codes import decode, encode, round_trip, slerp
from scorebench.solvers.registry import find

from .quality import quantile_interval
from .references import images

TOLERANCES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)  # of adaptive methods, coarsest first


@dataclass(frozen=True)
class Trip:
    """A solver's round trip: per-sample errors (n,), root mean square per dimension, and its calls there and back."""

    solver: str
    grid: str
    error: np.ndarray
    nfe: float
    cause: str = ""


def trip(model: Model, info: SolverInfo, x: Tensor, calls: int, grid: str) -> Trip | None:
    """On the most steps that half of the calls buy, from the likelihood's t_min; None where they buy none.

    An adaptive method takes the tightest tolerance whose mean cost fits.
    """
    p = model.process
    ends = torch.tensor([p.t_min_likelihood, p.t_max], dtype=torch.float64)
    if not info.adaptive:
        steps = info.steps(calls // 2)
        if steps < 1:
            return None
        times = make_grid(grid, p, steps, *ends.tolist())
        return _trip(model, info, grid, times, x, {})
    best = None
    for tolerance in TOLERANCES:
        found = _trip(model, info, f"tolerance {tolerance:g}", ends, x, {"rtol": tolerance, "atol": tolerance})
        if found.nfe > calls:
            break
        best = found
    return best


def _trip(model: Model, info: SolverInfo, grid: str, times: Tensor, x: Tensor, options: dict[str, float]) -> Trip:
    with torch.no_grad():
        result = round_trip(model, info, times, x, options)
    cause = "" if result.finite else "diverged: a state is not finite"
    return Trip(info.id, grid, result.error.numpy(), float(result.count.evaluations.double().mean()), cause)


def trips(model: Model, calls: int, n: int, grids: tuple[str, ...] = ("logsnr", "karras")) -> list[Trip]:
    """Every deterministic solver on its better grid, the smallest median error first, those that diverge last."""
    x, found = images(model, n, 0, torch.float32), []
    for info in SOLVERS.values():
        if info.kind != "ode":
            continue
        tried = [trip(model, info, x, calls, grid) for grid in ((grids[0],) if info.adaptive else grids)]
        found += sorted((one for one in tried if one is not None), key=_median)[:1]
    return sorted(found, key=_median)


def _median(trip: Trip) -> float:
    median = float(np.median(trip.error))
    return median if np.isfinite(median) else np.inf


def interpolate(
    model: Model, a: Tensor, b: Tensor, solver: str = "dpm-solver-3", steps: int = 20, count: int = 8
) -> Tensor:
    """Images (count, *d) decoded from the great circle between the codes of a and b (*d), both ends decoded too."""
    p, info = model.process, find(solver)
    up = make_grid("logsnr", p, steps, p.t_min_likelihood, p.t_max)
    with torch.no_grad():
        first, second = encode(model, info, up, torch.stack([a, b])).x
        between = torch.stack([slerp(first, second, share) for share in np.linspace(0, 1, count).tolist()])
        return decode(model, info, up.flip(0), between).x


def interpolations(model: Model, dtype: torch.dtype, pairs: int = 4, count: int = 9) -> Tensor:
    """Rows (pairs, count + 2, *d) between two images: the first, decoded codes, the second. UsageError unless of images."""
    if len(model.shape) != 3:
        raise UsageError(f"model {model.name!r} has no images to interpolate: its shape is {model.shape}")
    x = images(model, 2 * pairs, 0, dtype)
    rows = [
        torch.cat([a[None], interpolate(model, a, b, count=count), b[None]]) for a, b in zip(*x.chunk(2), strict=True)
    ]
    return torch.stack(rows)


def draw_interpolations(model: Model, path: Path) -> None:
    """The same as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = interpolations(model, torch.float32)
    pairs, count = rows.shape[:2]
    figure, axes = pyplot.subplots(pairs, count, figsize=(0.75 * count, 0.8 * pairs), squeeze=False)
    for axis, image in zip(axes.flat, rows.flatten(0, 1), strict=True):
        axis.imshow(image.movedim(0, -1).squeeze(-1).clamp(-1, 1).numpy(), cmap="gray", vmin=-1, vmax=1)
        axis.axis("off")
    axes[0, 0].set_title("image", fontsize=8)
    axes[0, count // 2].set_title("decoded from the great circle between their codes", fontsize=8)
    axes[0, -1].set_title("image", fontsize=8)
    figure.subplots_adjust(wspace=0.06, hspace=0.06, left=0.01, right=0.99, bottom=0.01, top=0.92)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(address: str = "digits-vp", calls: str = "50", picture: str | None = None) -> None:
    """Print the round trips of a model at so many calls, and draw interpolations where a file is named."""
    model = load_model(address)
    found = trips(model, int(calls), 32)
    print(
        f"{address}: round trip of 32 images from t={model.process.t_min_likelihood:g}, at most {calls} calls there and back"
    )
    print(f"{'solver':<22}{'grid':<18}{'calls':>6}  median rms per dimension [95 %]")
    ddim = next(_median(one) for one in found if one.solver == "ddim")
    for one in found:
        value, low, high = quantile_interval(one.error, 0.5)
        ratio = f"{ddim / value:8.1f} times below ddim" if not one.cause else one.cause
        print(f"{one.solver:<22}{one.grid:<18}{one.nfe:>6.1f}  {value:.3e} [{low:.3e}, {high:.3e}] {ratio}")
    dear = sorted({id for id, info in SOLVERS.items() if info.kind == "ode"} - {one.solver for one in found})
    print(f"need more than {calls} calls at any tolerance: {', '.join(dear) or 'none'}")
    if picture is not None:
        draw_interpolations(model, Path(picture))
        print(f"interpolations: {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:])

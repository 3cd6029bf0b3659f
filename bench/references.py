"""Reference solutions: what every ODE solver is compared with, by two unlike high-order methods that must agree.

The Gaussian has its flow map. Otherwise Dormand–Prince at a tight tolerance and DPM-Solver-3 on a fine grid both solve in
float64, and their distance is the reference's own uncertainty. Those of the shipped networks are committed beside their
weights, for the first 512 latents and 32 held-out images of seed block 0.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.datasets import DATASETS
from scorebench.reference_models.gaussian import Gaussian
from scorebench.reference_models.model import ExactModel, Model, model_digest
from scorebench.reference_models.network import WEIGHTS, NetworkModel
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.likelihood import log_likelihood
from scorebench.solvers.noise import Noise, probes, uniforms
from scorebench.solvers.registry import find

from .features import real_levels
from .fingerprint import fingerprint
from .store import Store, key_of

Progress = Callable[[str], None]
Device = torch.device | str
PART = {
    "cuda": 4096
}  # latents solved at once and kept together; elsewhere fewer, so that little is lost and processes share


@dataclass(frozen=True)
class Reference:
    """A verified solution (n, *d), float64, and the distance of the two methods that made it (n,)."""

    solution: np.ndarray
    uncertainty: np.ndarray

    @property
    def digest(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.solution).tobytes()).hexdigest()[:16]


def parts(rows: slice, device: Device = "cpu") -> list[slice]:
    """The rows of each part in which a solution is computed and kept."""
    size = PART.get(torch.device(device).type, 128)
    return [slice(first, min(first + size, rows.stop)) for first in range(rows.start, rows.stop, size)]


def joined(references: Iterable[Reference]) -> Reference:
    """One reference of those of parts that follow one another."""
    solutions, uncertainties = zip(*((part.solution, part.uncertainty) for part in references), strict=True)
    return Reference(np.concatenate(solutions), np.concatenate(uncertainties))


def latents(model: Model, n: int, seed: int, dtype: torch.dtype, device: Device = "cpu", first: int = 0) -> Tensor:
    """Starting points at t_max (n, *d) of the samples first…first + n − 1 of a seed, rounded to float32 in any dtype."""
    z = Noise(seed, torch.arange(first, first + n), model.shape).latents() * model.process.prior_std
    return z.float().to(device, dtype)


def images(model: Model, n: int, seed: int, dtype: torch.dtype, device: Device = "cpu") -> Tensor:
    """Data whose likelihood is measured (n, *d): exact draws, or held-out scans dequantised by seeded uniform noise."""
    if isinstance(model, ExactModel):
        x = model.samples(n, torch.Generator().manual_seed(seed))
    else:
        uniform = uniforms(seed, torch.arange(n), model.shape)
        x = DATASETS[model.data or ""].dequantise(real_levels(model, n), uniform)
    return x.float().to(device, dtype)


def shared_probes(model: Model, n: int, seed: int) -> Tensor | None:
    """One Rademacher probe per image (n, *d), the same for every solver; None where the trace is closed-form."""
    return None if isinstance(model, ExactModel) else probes(seed, torch.arange(n), model.shape)


def solution(
    model: Model,
    n: int,
    seed: int,
    store: Store | None,
    progress: Progress = lambda _: None,
    device: Device = "cpu",
    denoise: bool | None = None,
    first: int = 0,
) -> Reference:
    """The reference for n latents of a seed from the first on: closed form, committed, from the store, or computed at once.

    It ends with the final denoise where data is compared with, or as `denoise` says.
    """
    usual = model.data is not None
    ending = usual if denoise is None else denoise
    if isinstance(model, Gaussian):
        t = torch.tensor([model.process.t_max, model.process.t_min], dtype=torch.float64)
        x = model.flow_map(latents(model, n, seed, torch.float64, first=first), t[0], t[1])
        return Reference((model.denoise(x, t[1]) if ending else x).numpy(), np.zeros(n))
    what = "solution" if ending == usual else f"solution, {'denoised' if ending else 'at t_min'}"

    def compute() -> Reference:
        return compute_solution(model, n, seed, progress, device=device, denoise=ending, first=first)

    return _kept(model, what, n, seed, store, compute, first)


def log_p(
    model: Model, n: int, seed: int, store: Store | None, progress: Progress = lambda _: None, device: Device = "cpu"
) -> Reference:
    """log p in nats (n,) of the first n images at t_min: exact, or the converged ODE with the shared probes."""
    if isinstance(model, ExactModel):
        t = torch.tensor(model.process.t_min_likelihood, dtype=torch.float64)
        return Reference(model.log_prob(images(model, n, seed, torch.float64), t).numpy(), np.zeros(n))
    return _kept(model, "log_p", n, seed, store, lambda: compute_log_p(model, n, seed, progress, device=device))


def compute_solution(
    model: Model,
    n: int,
    seed: int,
    progress: Progress,
    steps: int = 120,
    device: Device = "cpu",
    denoise: bool | None = None,
    first: int = 0,
) -> Reference:
    """Both methods from the same latents, all at once; both end with the final denoise, as `solution` says."""
    p, denoise = model.process, model.data is not None if denoise is None else denoise
    progress(f"reference of {model.name}: latents {first} to {first + n - 1}")
    x = latents(model, n, seed, torch.float64, device, first)
    ends = torch.tensor([p.t_max, p.t_min], dtype=torch.float64)
    one = solve(model, find("rk45"), ends, x, options={"rtol": 1e-7, "atol": 1e-9}, denoise=denoise).x.cpu()
    fine = make_grid("logsnr", p, steps, p.t_max, p.t_min)
    two = solve(model, find("dpm-solver-3"), fine, x, denoise=denoise).x.cpu()
    return Reference(one.numpy(), rms(one, two))


def compute_log_p(
    model: Model, n: int, seed: int, progress: Progress, steps: int = 160, device: Device = "cpu"
) -> Reference:
    """Both methods of likelihood: the integral as a column of Dormand–Prince, and path quadrature along DPM-Solver-3."""
    p, x, z = model.process, images(model, n, seed, torch.float64, device), shared_probes(model, n, seed)
    ends = torch.tensor([p.t_min_likelihood, p.t_max], dtype=torch.float64)
    progress(f"reference likelihood of {model.name}")
    a = log_likelihood(model, find("rk45"), ends, x, options={"rtol": 1e-6, "atol": 1e-7}, probes=z).log_p
    fine = make_grid("logsnr", p, steps, p.t_min_likelihood, p.t_max)
    b = log_likelihood(model, find("dpm-solver-3"), fine, x, probes=z).log_p
    return Reference(a.numpy(), (a - b).abs().numpy())


def rms(a: Tensor, b: Tensor) -> np.ndarray:
    """Root mean square per dimension of a − b, (n,), float64."""
    return np.asarray((a.double() - b.double()).flatten(1).pow(2).mean(1).sqrt().cpu().numpy())


def commit_references(
    name: str, model: NetworkModel, progress: Progress, n: int = 512, count: int = 32
) -> dict[str, Reference]:
    """Compute the committed references of a shipped network (float64) and write them, rounded to float32, with its digest.

    They are n `solution`s and the `log_p` of `count` images, none of which leaves the likelihood out.
    """
    each = (
        compute_solution(model, rows.stop - rows.start, 0, progress, first=rows.start) for rows in parts(slice(0, n))
    )
    made = {"solution": joined(each)}
    arrays: dict[str, Any] = {"solution": made["solution"].solution.astype(np.float32)}
    if count:
        made["log_p"] = compute_log_p(model, count, 0, progress)
        arrays["log_p"] = made["log_p"].solution
    arrays |= {f"{what}_uncertainty": reference.uncertainty for what, reference in made.items()}
    np.savez_compressed(committed(name), digest=np.array(model.digest), **arrays)
    return made


def committed(address: str) -> Path:
    """Where the reference of a shipped network is kept, each label and guidance its own."""
    name, _, options = address.partition("?")
    return WEIGHTS / name / f"reference{'-' + re.sub('[^a-z0-9.]+', '-', options) if options else ''}.npz"


def _kept(
    model: Model, what: str, n: int, seed: int, store: Store | None, compute: Callable[[], Reference], first: int = 0
) -> Reference:
    path = committed(model.name)
    if seed == 0 and path.is_file():
        with np.load(path, allow_pickle=False) as file:
            if what in file and str(file["digest"]) == model_digest(model) and len(file[what]) >= first + n:
                return Reference(file[what][first:][:n], file[f"{what}_uncertainty"][first:][:n])
    source = fingerprint("scorebench.bench.references", type(model).__module__)
    key = key_of([what, model.name, model_digest(model), n, seed, source, *([first] if first else [])])
    if store is not None and (kept := store.reference(key)) is not None:
        return Reference(kept["solution"], kept["uncertainty"])
    reference = compute()
    if store is not None:
        store.write_npz(f"references/{key}.npz", {"solution": reference.solution, "uncertainty": reference.uncertainty})
    return reference

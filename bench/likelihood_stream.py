"""Likelihoods of a user's data, image by image: streamed, kept as they come, continued where they stopped.

The file has one JSON object a line: first the settings, then a row for each image. Settings that differ are refused; a
last line that was cut is dropped and its images are done again.
"""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import ExactModel, Model, model_digest
from scorebench.solvers.facts import SolverInfo
from scorebench.solvers.grids import make_grid
from scorebench.solvers.likelihood import LogLikelihood, Quadrature, check_likelihood, log_likelihood
from scorebench.solvers.trace import Trace, check_differentiable

from .likelihood_data import Data, bound, dequantise, offset
from .quality import mean_interval
from .suite import evaluations_per_call, smallest_budget

Json = dict[str, Any]
EXACT_UP_TO = 64  # dimensions in which the exact trace is the default


@dataclass(frozen=True)
class Settings:
    """All that determines a likelihood; `budget` counts network evaluations of one image, None for an adaptive solver."""

    model: Model
    info: SolverInfo
    options: dict[str, Any]
    grid: str
    budget: int | None
    trace: Trace
    quadrature: Quadrature
    tolerance: tuple[float, float] | None
    t_min: float
    draws: int
    seed: int

    def times(self) -> torch.Tensor:
        """The grid from t_min to t_max; UsageError where the budget is too small."""
        p, steps = self.model.process, 1
        if self.budget is not None:
            at_end = int(self.quadrature != "column")
            steps = self.info.steps(self.budget // evaluations_per_call(self.model) - at_end, self.options)
            if steps < 1:
                needed = smallest_budget(self.info, self.model, at_end, self.options)
                raise UsageError(
                    f"{self.info.id} needs {needed} network calls for a likelihood, got --nfe {self.budget}"
                )
        if not 0 < self.t_min < p.t_max:
            raise UsageError(f"t_min must lie between 0 and t_max={p.t_max:g}, got {self.t_min:g}")
        return make_grid("time_uniform" if self.info.adaptive else self.grid, p, steps, self.t_min, p.t_max)

    def header(self, data: Data) -> Json:
        """The settings as the first line of the file states them."""
        p = self.model.process
        return {
            "model": self.model.name,
            "model_digest": model_digest(self.model),
            "data": data.source,
            "images": len(data),
            "levels": data.levels,
            "offset_bits": offset(data.levels),
            "draws": self.draws,
            "solver": self.info.id,
            "options": self.options,
            "grid": "adaptive" if self.info.adaptive else self.grid,
            "nfe": self.budget,
            "quadrature": self.quadrature,
            "tolerance": self.tolerance,
            "trace": self.trace.kind,
            "probes": self.trace.probes if self.trace.kind not in ("closed", "exact") else None,
            "mode": self.trace.mode,
            "seed": self.seed,
            "t_min": self.t_min,
            "t_max": p.t_max,
            "prior": f"N(0, {p.prior_std:g}² I)",
        }


def default_trace(model: Model) -> str:
    """closed where the model has it, exact in few dimensions, one Rademacher probe otherwise."""
    if isinstance(model, ExactModel):
        return "closed"
    return "exact" if math.prod(model.shape) <= EXACT_UP_TO else "rademacher"


def stream(settings: Settings, data: Data, out: Path, batch: int, say: Callable[[int], None]) -> list[Json]:
    """The rows of all images, those that the file lacks computed now, `batch` at once; `say` hears how many are there.

    UsageError, and nothing written, where the settings do not fit the model, the data or the file.
    """
    check_likelihood(
        settings.model, settings.info, settings.times(), settings.options, settings.trace, settings.quadrature,
        settings.tolerance,
    )  # fmt: skip
    if settings.trace.kind != "closed":
        check_differentiable(settings.model)
    data.check()
    header = settings.header(data)
    rows = resume(out, header)
    say(len(rows))
    with out.open("a") as file:
        for first in range(len(rows), len(data), batch):
            for row in measure(settings, data, first, min(first + batch, len(data))):
                file.write(json.dumps(row, allow_nan=False) + "\n")
                rows.append(row)
            file.flush()
            os.fsync(file.fileno())
            say(len(rows))
    return rows


def resume(out: Path, header: Json) -> list[Json]:
    """The rows that the file holds, after cutting off a line that was not finished; a new file gets its header."""
    header = json.loads(json.dumps(header))
    if not out.exists() or not out.read_text():
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(header) + "\n")
        return []
    text = out.read_text()
    whole = text[: text.rfind("\n") + 1]
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
        found, rows = lines[0], lines[1:]
        different = sorted(key for key in header if found[key] != header[key])
    except (ValueError, KeyError, IndexError, TypeError):
        raise UsageError(f"{out} is not a file of likelihoods: name another with --out") from None
    if different:
        raise UsageError(
            f"{out} was made with another {different[0]} ({found[different[0]]}, not {header[different[0]]}): "
            "name another file with --out"
        )
    if whole != text:
        out.write_text(whole)
    return rows


def measure(settings: Settings, data: Data, first: int, last: int) -> Iterator[Json]:
    """One row for each image first…last − 1; an image that diverges has a cause, and null for its numbers."""
    model, indices = settings.model, torch.arange(first, last)
    values, found = data.part(first, last), []
    for draw in range(settings.draws if data.levels else 1):
        x = values if data.levels is None else dequantise(values, data.levels, settings.seed, indices, draw)
        with torch.no_grad():
            found.append(_run(settings, x if isinstance(model, ExactModel) else x.float(), indices))
    log_p = torch.stack([result.log_p for result in found])
    bits = bound(log_p, model, data.levels)
    for row in range(last - first):
        cause = next((result.causes[row] for result in found if result.causes[row]), "")
        yield {
            "index": first + row,
            "name": data.name(first + row),
            "log_p_nats": None if cause else [float(value) for value in log_p[:, row]],
            "bits_per_dim": None if cause else float(bits[row]),
            "nfe": sum(int(result.count.evaluations[row]) for result in found),
            "jacobian_products": sum(int(result.products[row]) for result in found),
            "status": "failed" if cause else "ok",
            "cause": cause,
        }


def _run(settings: Settings, x: torch.Tensor, indices: torch.Tensor) -> LogLikelihood:
    return log_likelihood(
        settings.model, settings.info, settings.times(), x, options=settings.options, trace=settings.trace,
        indices=indices, quadrature=settings.quadrature, tolerance=settings.tolerance,
    )  # fmt: skip


def summary(rows: list[Json], levels: int | None) -> str:
    """Mean bits per dimension with its 95 % interval, the cost, and what failed."""
    good = np.array([row["bits_per_dim"] for row in rows if row["status"] == "ok"])
    lost = [row for row in rows if row["status"] != "ok"]
    unit = "bits/dim" if levels is not None else "bits/dim of the density (no levels)"
    text = "no likelihood is finite"
    if len(good) > 1:
        mean, low, high = mean_interval(good)
        text = f"{mean:.4f} [{low:.4f}, {high:.4f}] {unit}"
    elif len(good):
        text = f"{good[0]:.4f} {unit}"
    nfe = np.mean([row["nfe"] for row in rows])
    products = np.mean([row["jacobian_products"] for row in rows])
    text += f" over {len(good)} images, {nfe:.1f} network evaluations and {products:.1f} Jacobian products each"
    return text + (f"; {len(lost)} failed, first {lost[0]['name']}: {lost[0]['cause']}" if lost else "")

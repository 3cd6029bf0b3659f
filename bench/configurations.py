"""One sampler as something to paste: our Python, a suite, or the scheduler of diffusers that is the same method."""

import json
from typing import Any

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import Model
from scorebench.solvers.aliases import diffusers_of
from scorebench.solvers.facts import SolverInfo
from scorebench.solvers.grids import parse_grid
from scorebench.solvers.peer_names import GRID_FLAGS
from scorebench.solvers.registry import find

from .suite import evaluations_per_call

PYTHON = """\
import torch

from scorebench.reference_models.addresses import load_model
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

model, solver = load_model({model}), find({solver})
process = model.process
grid = make_grid({grid}, process, {steps}, process.t_max, process.t_min)
noise = Noise(seed=0, indices=torch.arange(16), shape=model.shape, dtype=torch.float32)
latents = noise.latents() * process.prior_std
with torch.no_grad():
    samples = solve(model, solver, grid, latents, options={options}, noise=noise, denoise={denoise}).x
"""
TOML = """\
name = "chosen"
budgets = [{budget}]
models = [{{ address = {model}, n = 512 }}]
solvers = [{{ id = {solver}{grid}{options} }}]
"""
DIFFUSERS = """\
from diffusers import {name}

# before: pipeline = … any pipeline whose scheduler has this noise schedule
pipeline.scheduler = {name}.from_config(pipeline.scheduler.config{flags})
num_inference_steps = {steps}
"""


def as_python(model: str, solver: str, options: dict[str, Any], grid: str, budget: int | None) -> str:
    """A script that draws sixteen samples."""
    loaded, info = load_model(model), find(solver)
    grid = info.grid if info.adaptive else grid
    parts = {"model": model, "solver": solver, "grid": grid, "options": options, "denoise": ends_with_denoise(loaded)}
    return PYTHON.format(steps=steps_of(loaded, info, options, grid, budget), **{k: repr(v) for k, v in parts.items()})


def as_toml(model: str, solver: str, options: dict[str, Any], grid: str, budget: int | None) -> str:
    """A suite that measures it again."""
    info = find(solver)
    pairs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in options.items())
    written = f", ladder = [{{ {pairs} }}]" if info.adaptive else f", options = {{ {pairs} }}" if options else ""
    spaced = "" if info.adaptive else f", grid = {json.dumps(grid)}"
    return TOML.format(
        budget=budget or 10, model=json.dumps(model), solver=json.dumps(solver), grid=spaced, options=written
    )


def as_diffusers(model: str, solver: str, options: dict[str, Any], grid: str, budget: int | None) -> str:
    """The scheduler that is this method, on the nearest of its grids; UsageError where diffusers has none."""
    loaded, info = load_model(model), find(solver)
    if not (classes := diffusers_of(info)) or options:
        what = f"{solver} with {', '.join(f'{k}={v}' for k, v in options.items())}" if options else solver
        raise UsageError(f"no scheduler of diffusers is {what}: take --format python or toml")
    name, _, query = classes[0].partition("?")
    flags = dict(pair.split("=") for pair in query.split("&") if pair)
    flags |= {flag: "true" for flag, its in GRID_FLAGS.items() if its == grid and flag != "use_lu_lambdas"}
    words = "".join(f", {key}={_literal(value)}" for key, value in flags.items())
    return DIFFUSERS.format(name=name, flags=words, steps=steps_of(loaded, info, options, grid, budget))


def _literal(text: str) -> str:
    if text in ("true", "false"):
        return text.capitalize()
    try:
        return repr(json.loads(text))
    except ValueError:
        return repr(text)


def ends_with_denoise(model: Model) -> bool:
    """Samples of data end with one more call, D at t_min."""
    return model.data is not None


def steps_of(model: Model, info: SolverInfo, options: dict[str, Any], grid: str, budget: int | None) -> int:
    """The steps that a budget of network calls buys, as the suites count them."""
    if info.adaptive or budget is None:
        return 1
    if (fixed := parse_grid(grid).steps) is not None:
        return fixed
    return info.steps(budget // evaluations_per_call(model) - ends_with_denoise(model), options)

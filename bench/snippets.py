"""What to paste for one sampler, as text: our Python, a suite, a scheduler of diffusers; no torch, since reports write them."""

import json
from typing import Any

from scorebench.solvers.peer_names import GRID_FLAGS

Json = dict[str, Any]
PYTHON = """\
import torch

from scorebench.bench.configurations import ends_with_denoise, steps_of
from scorebench.reference_models.addresses import load_model
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

model, solver, options = load_model({model}), find({solver}), {options}
process = model.process
spacing, budget = {grid}, {budget}
steps = steps_of(model, solver, options, spacing, budget)
grid = make_grid(spacing, process, steps, process.t_max, process.t_min)
noise = Noise(seed=0, indices=torch.arange(16), shape=model.shape, dtype=torch.float32)
latents = noise.latents() * process.prior_std
with torch.no_grad():
    samples = solve(model, solver, grid, latents, options=options, noise=noise, denoise=ends_with_denoise(model)).x
"""
TOML = """\
name = "chosen"
budgets = [{calls}]
models = [{{ address = {address}, n = 512 }}]
solvers = [{{ id = {id}{more} }}]
"""
DIFFUSERS = """\
from diffusers import {name}

# before: pipeline = … any pipeline whose scheduler has this noise schedule
pipeline.scheduler = {name}.from_config(pipeline.scheduler.config{flags})
num_inference_steps = {steps}
"""


def parts(model: str, solver: str, options: Json, grid: str, budget: int | None) -> dict[str, str]:
    """What stands in PYTHON and TOML at each name; a budget of None is an adaptive method."""
    pairs = ", ".join(f"{_key(key)} = {json.dumps(value)}" for key, value in options.items())
    more = f", grid = {json.dumps(grid)}" + (f", options = {{ {pairs} }}" if options else "")
    if budget is None:
        more = f", ladder = [{{ {pairs} }}]"
    return {
        "model": repr(model),
        "solver": repr(solver),
        "options": repr(options),
        "grid": "solver.grid" if budget is None else repr(grid),
        "budget": repr(budget),
        "calls": str(budget or 10),
        "address": json.dumps(model),
        "id": json.dumps(solver),
        "more": more,
    }


def _key(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)


def scheduler(named: str, grid: str, steps: int) -> str:
    """The scheduler that `named` (a class and its flags, as a query) says, on the nearest of its grids."""
    name, _, query = named.partition("?")
    flags = dict(pair.split("=") for pair in query.split("&") if pair)
    flags |= {flag: "true" for flag, its in GRID_FLAGS.items() if its == grid and flag != "use_lu_lambdas"}
    words = "".join(f", {key}={_literal(value)}" for key, value in flags.items())
    return DIFFUSERS.format(name=name, flags=words, steps=steps)


def scheduler_by_facts(model: Json, solver: Json, options: Json, grid: str, budget: int | None) -> str:
    """The scheduler by what a store keeps of model and solver; empty where none is the same, or an older store does not say."""
    known = "evaluations_per_call" in model and solver.get("diffusers") and solver.get("calls_per_step")
    if not known or options or budget is None or ":" in grid or "," in grid:
        return ""
    calls = budget // model["evaluations_per_call"] - (model["data"] is not None) - solver["extra_calls"]
    return scheduler(solver["diffusers"][0], grid, calls // solver["calls_per_step"])


def _literal(text: str) -> str:
    if text in ("true", "false"):
        return text.capitalize()
    try:
        return repr(json.loads(text))
    except ValueError:
        return repr(text)

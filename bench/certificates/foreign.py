"""Samplers of other libraries as methods of ours: their update formulas, on our grids, given exact network calls.

    diffusers:CLASS?flag=value&…        a scheduler class with flags
    diffusers:scheduler_config.json     one as a pipeline stores it
    k-diffusion:NAME?argument=value&…   a function `sample_NAME`, if that package is installed; in foreign_functions.py
    torchsde:euler, scipy:RK45          integrators of the process's own equations, in foreign_integrators.py

A scheduler gets the grid's noise levels σ̂ in place of its own (as its list of σ or its training table), in float64 where it
lets us, and the exact past in place of its first states, so that orders are those of its formulas. What it does at the end
of its own grid, a last step into σ = 0, is left out.
"""

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError, unknown
from scorebench.reference_models.torchvision_repair import repair
from scorebench.solvers.facts import Reference, SolverInfo, Step
from scorebench.solvers.problem import Problem

from .flags import flags_of
from .foreign_functions import k_diffusion
from .foreign_integrators import scipy_pair, torchsde_euler

CLAIMED = {  # the classes that can be driven, and the order that each says it has where no flag says it
    **dict.fromkeys(("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "EDMEulerScheduler"), 1),
    **dict.fromkeys(("DDIMScheduler", "DDPMScheduler", "FlowMatchEulerDiscreteScheduler"), 1),
    **dict.fromkeys(("HeunDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"), 2),
    **dict.fromkeys(("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"), 2),
    **dict.fromkeys(("LMSDiscreteScheduler", "IPNDMScheduler"), 4),
    **dict.fromkeys(
        ("DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "EDMDPMSolverMultistepScheduler"), 2
    ),
    **dict.fromkeys(("DEISMultistepScheduler", "UniPCMultistepScheduler", "SASolverScheduler", "PNDMScheduler"), 2),
    "ScoreSdeVeScheduler": 1,
}
TABLED = ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler")
STOCHASTIC = (
    "DDPMScheduler",
    "EulerAncestralDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "SASolverScheduler",
    "ScoreSdeVeScheduler",
)


def foreign(address: str) -> SolverInfo:
    """The sampler at an address as a method; UsageError where there is none, or it cannot be driven."""
    library, _, name = address.partition(":")
    makers = {"k-diffusion": k_diffusion, "torchsde": torchsde_euler, "scipy": scipy_pair}
    if library in makers:
        return makers[library](address, name)
    if library != "diffusers":
        raise unknown(f"library in {address}", library, ["diffusers", *makers])
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise UsageError(f"{address}: no file {name}")
        flags = json.loads(Path(name).read_text())
        kind = flags.pop("_class_name", "")
        flags = {key: value for key, value in flags.items() if not key.startswith("_")}
    else:
        kind, _, query = name.partition("?")
        flags = flags_of(query)
    return _diffusers(address, kind, flags)


def _diffusers(address: str, kind: str, flags: dict[str, Any]) -> SolverInfo:
    repair()
    import diffusers

    known = [name for name in dir(diffusers) if name.endswith("Scheduler")]
    if kind not in known:
        raise unknown(f"scheduler in {address}", kind, known)
    if kind not in CLAIMED:
        raise UsageError(
            f"{address}: no way to drive this class is known; there is one for {', '.join(sorted(CLAIMED))}"
        )
    made = getattr(diffusers, kind)
    accepted = inspect.signature(made.__init__).parameters
    for flag in flags:
        if flag not in accepted:
            raise unknown(f"flag of {kind}", flag, [name for name in accepted if name != "self"])
    if isinstance(tau := flags.get("tau_func"), int | float):
        flags["tau_func"] = lambda _: tau
    stochastic = kind in STOCHASTIC or str(flags.get("algorithm_type", "")).startswith("sde")
    calls = 2 if any(word in kind for word in ("Heun", "KDPM2")) else 1
    if kind == "ScoreSdeVeScheduler":
        calls += flags.get("correct_steps", 1)
    drive = DRIVES.get(kind, _scheduled)
    claimed = flags.get("solver_order", flags.get("predictor_order", CLAIMED[kind]))

    def method(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
        return drive(problem, x, grid, made, flags, calls)

    extra, least = ((1, 2) if flags.get("skip_prk_steps") else (9, 4)) if kind == "PNDMScheduler" else (0, 1)
    return SolverInfo(
        address, method, "sde" if stochastic else "ode", claimed, None, calls, "karras",
        Reference("diffusers", address, ""), (), {}, claimed, drift=None if "Ancestral" in kind else claimed,
        extra_calls=extra, least_steps=least,
    )  # fmt: skip


def _scheduled(
    problem: Problem, x: Tensor, grid: Tensor, made: Any, flags: dict[str, Any], calls: int
) -> Iterator[Step]:
    """Drive a scheduler along the grid; its state is x, x/α, or the flow's own scale."""
    p, past = problem.process, problem.start
    times = torch.cat([torch.tensor([t for t, _ in past], dtype=torch.float64), grid])
    nodes = p.sigma_hat(times)
    scheduler = on_nodes(made, flags, nodes.numpy())
    scale = _scale(made.__name__, nodes) / p.alpha(times)
    given = [y for _, y in past] + [x]
    position = 0

    def noise(*_: Any, **__: Any) -> Tensor:
        if position + 1 < len(given):
            return torch.zeros_like(x)
        return problem.increment(float(times[position]), float(times[position + 1]))

    with patch.object(sys.modules[made.__module__], "randn_tensor", noise, create=True):
        state = given[0] * scale[0]
        for call in range(calls * (len(times) - 1)):
            position = call // calls
            if call % calls == 0 and position < len(given):
                state = given[position] * scale[position]
                scheduler.last_sample = None  # or a corrector would move what is given
            state = _call(problem, scheduler, made.__name__, call, state)
            if (call + 1) % calls == 0 and position + 1 >= len(given):
                yield float(times[position + 1]), state / scale[position + 1]


def _call(problem: Problem, scheduler: Any, kind: str, call: int, state: Tensor) -> Tensor:
    """One network call, as the scheduler asks for it, and its step."""
    p, timestep = problem.process, scheduler.timesteps[call]
    sigma = _sigma_at(scheduler, call)
    t = float(p.t_of_sigma_hat(sigma))
    at = state / _scale(kind, sigma)  # x/α
    d = problem.denoise(p.alpha(torch.tensor(t, dtype=torch.float64)) * at, t)
    root = torch.sqrt(1 + sigma**2)
    unsaid = "flow" if kind.startswith("FlowMatch") else "v_prediction" if kind == "IPNDMScheduler" else "epsilon"
    wanted = scheduler.config.get("prediction_type", unsaid)
    if kind.startswith("EDM"):
        data = scheduler.config.sigma_data
        total = sigma**2 + data**2
        output = (d - data**2 / total * at) / (sigma * data / torch.sqrt(total))
    elif wanted in ("flow", "flow_prediction"):
        output = (at - d) / sigma - d
    else:
        output = {"epsilon": (at - d) / sigma, "sample": d, "v_prediction": (at - d) / sigma / root - sigma / root * d}[
            wanted
        ]
    if hasattr(scheduler, "scale_model_input"):
        scheduler.scale_model_input(state, timestep)
    result: Tensor = scheduler.step(output, timestep, state).prev_sample
    return result


def _scale(kind: str, sigma: Tensor) -> Tensor:
    """What a scheduler's state is, in units of x/α at σ̂."""
    if kind.startswith("FlowMatch"):
        return 1 / (1 + sigma)
    in_sigma_hat = kind.startswith(("Euler", "Heun", "KDPM2", "LMS", "EDM"))
    return torch.ones_like(sigma) if in_sigma_hat else 1 / torch.sqrt(1 + sigma**2)


def _sigma_at(scheduler: Any, call: int) -> Tensor:
    """σ̂ of a scheduler's network call."""
    kind = type(scheduler).__name__
    if kind in TABLED:
        cumulative = scheduler.alphas_cumprod[int(scheduler.timesteps[call])]
        return torch.sqrt((1 - cumulative) / cumulative)
    if kind == "IPNDMScheduler":
        return torch.as_tensor(scheduler.betas[call] / scheduler.alphas[call])
    between = hasattr(scheduler, "sigmas_interpol") and not scheduler.state_in_first_order
    levels = scheduler.sigmas_interpol if between else scheduler.sigmas
    sigma = torch.as_tensor(levels[call - int(between and "Ancestral" in kind)], dtype=torch.float64)
    return sigma / (1 - sigma) if kind.startswith("FlowMatch") else sigma


def on_nodes(made: Any, flags: dict[str, Any], nodes: np.ndarray) -> Any:
    """A scheduler whose noise levels are the nodes (n,), σ̂ decreasing, in float64 where it keeps them in a table."""
    kind, n, sigma = made.__name__, len(nodes), torch.from_numpy(nodes)
    if kind in TABLED:
        return _on_table(made, flags, nodes)
    if kind == "IPNDMScheduler":
        scheduler = made(**flags)
        scheduler.set_timesteps(n)
        scheduler.betas, scheduler.alphas = sigma / torch.sqrt(1 + sigma**2), 1 / torch.sqrt(1 + sigma**2)
        scheduler.timesteps = torch.linspace(1, 0.1, n)
        return scheduler
    hook = {"use_karras_sigmas": True} if kind == "KDPM2AncestralDiscreteScheduler" else {}
    scheduler = made(**{**hook, **flags})
    if hook:
        scheduler._convert_to_karras = lambda *_, **__: nodes
    scheduler.set_timesteps(n)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    levels = sigma / (1 + sigma) if kind.startswith("FlowMatch") else sigma
    tail = torch.as_tensor(scheduler.sigmas[-1:], dtype=torch.float64)
    twice = any(word in kind for word in ("Heun", "KDPM2"))
    if not twice:
        scheduler.sigmas = torch.cat([levels, tail])
    elif "Heun" in kind:
        scheduler.sigmas = torch.cat([levels[:1], levels[1:].repeat_interleave(2), tail])
    else:
        _between(scheduler, levels)
    # times serve as labels: distinct, and in the middle of the table, where a time-dependent noise is switched on
    scheduler.timesteps = torch.linspace(600, 400, 2 * n - 1 if twice else n, dtype=torch.float64)
    return scheduler


def _between(scheduler: Any, levels: Tensor) -> None:
    """The interleaved tables of the second-order schedulers with a geometric midpoint, again in float64."""
    for name in ("sigmas", "sigmas_interpol", "sigmas_up", "sigmas_down"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, getattr(scheduler, name).double())
    if hasattr(scheduler, "sigmas_up"):
        return  # its tables are made of the float32 levels, and stay consistent with one another
    ended = torch.cat([levels, torch.zeros(1, dtype=torch.float64)])
    middle = torch.sqrt(ended * ended.roll(1))
    scheduler.sigmas = torch.cat([ended[:1], ended[1:].repeat_interleave(2), ended[-1:]])
    scheduler.sigmas_interpol = torch.cat([middle[:1], middle[1:].repeat_interleave(2), middle[-1:]])


def _on_table(made: Any, flags: dict[str, Any], nodes: np.ndarray) -> Any:
    """A scheduler of a training table whose training times are the nodes."""
    cumulative = (1 / (1 + nodes**2))[::-1]
    betas = 1 - cumulative / np.concatenate([[1.0], cumulative[:-1]])
    accepted = inspect.signature(made.__init__).parameters
    own = {"timestep_spacing": "trailing", "clip_sample": False, "set_alpha_to_one": False}
    own = {key: value for key, value in own.items() if key in accepted}
    scheduler = made(**{**own, **flags, "num_train_timesteps": len(nodes), "trained_betas": betas})
    scheduler.set_timesteps(len(nodes))
    scheduler.alphas_cumprod = torch.from_numpy(cumulative.copy())
    scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    return scheduler


def _pndm(problem: Problem, x: Tensor, grid: Tensor, made: Any, flags: dict[str, Any], calls: int) -> Iterator[Step]:
    """Drive PNDM, whose start-up calls in the middle of steps: its training times are the grid's and those between."""
    p, steps = problem.process, len(grid) - 1
    between = torch.stack([grid[1:], 0.5 * (grid[:-1] + grid[1:])], 1).flip(0).flatten()
    squared = 1 / (1 + p.sigma_hat(torch.cat([between, grid[:1]])) ** 2)
    scheduler = made(**{**flags, "num_train_timesteps": 2 * steps, "timestep_spacing": "trailing"})
    scheduler.set_timesteps(steps)
    scheduler.final_alpha_cumprod, scheduler.alphas_cumprod = squared[0], squared[1:]
    scale = _scale("PNDMScheduler", p.sigma_hat(grid)) / p.alpha(grid)
    state = x * scale[0]
    for call in range(len(scheduler.timesteps)):
        state = _call(problem, scheduler, "PNDMScheduler", call, state)
    yield float(grid[-1]), state / scale[-1]


def _score_sde(
    problem: Problem, x: Tensor, grid: Tensor, made: Any, flags: dict[str, Any], calls: int
) -> Iterator[Step]:
    """Drive the predictor and corrector of score_sde in y = x/α, in the order of diffusers' own pipeline."""
    p, steps = problem.process, len(grid) - 1
    alpha, sigma = p.alpha(grid), p.sigma_hat(grid)
    scheduler = made(**flags)
    scheduler.set_timesteps(steps + 1)
    scheduler.discrete_sigmas = sigma.flip(0)
    y = x / alpha[0]
    for n in range(steps):
        t, label = float(grid[n]), (steps - n + 0.5) / steps
        for call in range(1, calls + 1):
            score = (problem.denoise(alpha[n] * y, t) - y) / sigma[n] ** 2
            drawn = problem.increment(t, float(grid[n + 1])) if call == calls else problem.independent(calls * n + call)
            with patch.object(sys.modules[made.__module__], "randn_tensor", return_value=drawn):
                step = scheduler.step_pred(score, label, y) if call == calls else scheduler.step_correct(score, y)
            y = step.prev_sample
        yield float(grid[n + 1]), alpha[n + 1] * y


DRIVES = {"PNDMScheduler": _pndm, "ScoreSdeVeScheduler": _score_sde}

"""k-diffusion's samplers: functions of a denoiser and a list of σ̂, or of its ends.

k-diffusion:NAME?argument=value&…    `sample_NAME`, if that package is installed
"""

import importlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError, unknown
from scorebench.reference_models.torchvision_repair import repair
from scorebench.solvers.facts import Kind, Reference, SolverInfo, Step
from scorebench.solvers.problem import Problem

from .flags import flags_of

SAMPLERS = {  # claimed order, calls a step, stochastic
    "euler": (1, 1, False), "heun": (2, 2, False), "dpm_2": (2, 2, False), "lms": (4, 1, False), "dpmpp_2m": (2, 1, False),
    "euler_ancestral": (1, 1, True), "dpm_2_ancestral": (2, 2, True), "dpmpp_2s_ancestral": (2, 2, True),
    "dpmpp_sde": (2, 2, True), "dpmpp_2m_sde": (2, 1, True), "dpmpp_3m_sde": (3, 1, True),
    "dpm_fast": (3, 3, False), "dpm_adaptive": (3, None, False),
}  # fmt: skip
OURS = (
    "model",
    "x",
    "sigmas",
    "sigma_min",
    "sigma_max",
    "n",
    "extra_args",
    "callback",
    "disable",
    "noise_sampler",
    "return_info",
)


def k_diffusion(address: str, name: str) -> SolverInfo:
    """A sampling function with its arguments; UsageError where there is none, or k-diffusion is not installed."""
    name, _, query = name.partition("?")
    if name not in SAMPLERS:
        raise unknown(f"sampler of {address}", name, SAMPLERS)
    function, given = getattr(sampling(address), f"sample_{name}"), flags_of(query)
    accepted = [argument for argument in inspect.signature(function).parameters if argument not in OURS]
    for argument in given:
        if argument not in accepted:
            raise unknown(f"argument of {address}", argument, accepted)
    order, calls, stochastic = SAMPLERS[name]
    order, reference = given.get("order", order), Reference("k-diffusion", address, "")
    kind: Kind = "sde" if given.get("eta", stochastic) or given.get("s_churn") else "ode"
    if name == "dpm_adaptive":

        def adapted(
            problem: Problem, x: Tensor, grid: Tensor, *, rtol: float = 0.05, atol: float = 0.0078
        ) -> Iterator[Step]:
            return _spanned(problem, x, grid, function, {**given, "rtol": rtol, "atol": atol})

        tolerances = {"rtol": 0.05, "atol": 0.0078}
        return SolverInfo(address, adapted, "ode", order, None, None, "logsnr", reference, (), tolerances, order)

    def method(problem: Problem, x: Tensor, grid: Tensor) -> Iterator[Step]:
        if name == "dpm_fast":
            return _spanned(problem, x, grid, function, {**given, "n": 3 * len(grid) - 6})
        return _sampled(problem, x, grid, function, given, calls or 1)

    ordered, extra, least = None if given.get("s_churn") else order, *((-3, 2) if name == "dpm_fast" else (0, 1))
    return SolverInfo(
        address, method, kind, ordered, None, calls, "karras", reference, (), {}, ordered,
        drift=None if name.endswith("ancestral") else ordered, extra_calls=extra, least_steps=least,
    )  # fmt: skip


def _sampled(
    problem: Problem, x: Tensor, grid: Tensor, function: Callable[..., Tensor], given: dict[str, Any], calls: int
) -> Iterator[Step]:
    """Run a sampling function in y = x/α; its states are those that its callback sees, the exact past put in their place."""
    p, past = problem.process, problem.start
    times = torch.cat([torch.tensor([t for t, _ in past], dtype=torch.float64), grid])
    alpha, sigmas = p.alpha(times), p.sigma_hat(times)
    exact = [state / a for (_, state), a in zip(past, alpha.tolist(), strict=False)] + [x / float(alpha[len(past)])]
    states: list[Tensor] = []
    asked = 0

    def model(y: Tensor, sigma: Tensor) -> Tensor:
        nonlocal asked
        position, first = divmod(asked, calls)
        asked += 1
        if past and first == 0 and position < len(exact):
            y.copy_(exact[position])
        return _denoise(problem, y, sigma)

    options: dict[str, Any] = {"disable": True, "callback": lambda seen: states.append(seen["x"].clone()), **given}
    if "noise_sampler" in inspect.signature(function).parameters:
        options["noise_sampler"] = lambda high, low: problem.increment(float(high), float(low))
    with patch.object(torch, "randn_like", lambda _: problem.independent(len(states))):  # of churn
        states.append(function(model, exact[0].clone(), sigmas, **options))
    for n in range(len(past) + 1, len(times)):
        yield float(times[n]), states[n] * float(alpha[n])


def _spanned(
    problem: Problem, x: Tensor, grid: Tensor, function: Callable[..., Tensor], given: dict[str, Any]
) -> Iterator[Step]:
    """Run a function that chooses its own steps, in y = x/α, between the ends of the grid."""
    p = problem.process
    alpha, sigmas = p.alpha(grid), p.sigma_hat(grid)
    low, high = (sigmas[i].clone() for i in (-1, 0))
    y = function(lambda y, sigma: _denoise(problem, y, sigma), x / alpha[0], low, high, disable=True, **given)
    yield float(grid[-1]), y * alpha[-1]


def _denoise(problem: Problem, y: Tensor, sigma: Tensor) -> Tensor:
    p = problem.process
    t = float(p.t_of_sigma_hat(sigma[0].double()))
    return problem.denoise(p.alpha(torch.tensor(t, dtype=torch.float64)) * y, t)


def sampling(address: str) -> Any:
    """k-diffusion's module of samplers, without the rest of that package and its many dependencies."""
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"{address}: k-diffusion is not installed; `make peers` installs it")
    repair()
    if "k_diffusion" not in sys.modules:
        package = types.ModuleType("k_diffusion")
        package.__path__, package.__spec__ = list(spec.submodule_search_locations), spec
        sys.modules["k_diffusion"] = package
    return importlib.import_module("k_diffusion.sampling")

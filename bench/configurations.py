"""One sampler as something to paste: our Python, a suite, or the scheduler of diffusers that is the same method."""

from typing import Any

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import Model
from scorebench.solvers.aliases import diffusers_of
from scorebench.solvers.facts import SolverInfo
from scorebench.solvers.grids import parse_grid
from scorebench.solvers.registry import find

from .snippets import PYTHON, TOML, parts, scheduler
from .suite import evaluations_per_call


def as_python(model: str, solver: str, options: dict[str, Any], grid: str, budget: int | None) -> str:
    """A script that draws sixteen samples."""
    return PYTHON.format(**parts(model, solver, options, grid, budget))


def as_toml(model: str, solver: str, options: dict[str, Any], grid: str, budget: int | None) -> str:
    """A suite that measures it again."""
    return TOML.format(**parts(model, solver, options, grid, budget))


def as_diffusers(model: str, solver: str, options: dict[str, Any], grid: str, budget: int | None) -> str:
    """The scheduler that is this method, on the nearest of its grids; UsageError where diffusers has none."""
    loaded, info = load_model(model), find(solver)
    if not (classes := diffusers_of(info)) or options:
        what = f"{solver} with {', '.join(f'{k}={v}' for k, v in options.items())}" if options else solver
        raise UsageError(f"no scheduler of diffusers is {what}: take --format python or toml")
    return scheduler(classes[0], grid, steps_of(loaded, info, options, grid, budget))


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

"""From the names of other systems to ours, and back: the solver, the grid and the options that a name stands for.

dpmpp-2m, DPM-Solver++(2M), sample_dpmpp_2m       ids and aliases, without regard to case and punctuation
ddim?eta=0.5                                      with options
DPM++ 2M Karras                                   a label with a grid
DPMSolverMultistepScheduler?use_karras_sigmas=true&solver_order=3    a class of diffusers with its flags

A class alone means its method: what its defaults do at the end of the grid (`lower_order_final`, `final_sigmas_type`) counts
where the name says it, and stands in what `diffusers_of` gives back.
"""

import inspect
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from scorebench.reference_models.errors import UsageError, unknown

from . import registry  # noqa: F401  (so that the list is complete)
from .facts import ALIASES, SOLVERS, SolverInfo, normal
from .grids import parse_grid
from .options import read_option
from .peer_names import (
    CHANGES_THE_ODE,
    DIALECTS,
    DIFFUSERS,
    GRID_FLAGS,
    GRID_VALUES,
    GRID_WORDS,
    OPTION_FLAGS,
    PROCESS_FLAGS,
    Flags,
    Scheduler,
)  # fmt: skip

CLASSES = {normal(name): name for name in DIFFUSERS}
LABELS = {normal(name): target for names in DIALECTS.values() for name, target in names.items()}
WORDS = {normal(word): word for word in GRID_WORDS}


class Resolved(NamedTuple):
    """What a name stands for; without a grid the solver's own."""

    info: SolverInfo
    grid: str | None
    options: dict[str, Any]


def resolve(name: str) -> Resolved:
    """The solver, grid and options of a name in any dialect; UsageError with the nearest names otherwise."""
    head, _, query = name.removeprefix("diffusers:").removeprefix("k-diffusion:").partition("?")
    flags = dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))  # the ++ of dpmsolver++ is no space
    if normal(head) in CLASSES:
        return _scheduler(CLASSES[normal(head)], flags)
    found = _label(head)
    if found is None:
        raise unknown("solver", name, SOLVERS)
    given = {key: _option(found.info, key, text) for key, text in flags.items()}
    return found._replace(options={**found.options, **given})


def diffusers_of(info: SolverInfo) -> list[str]:
    """The classes of diffusers that are this method, each with the flags that make it equal on the same times."""
    found = []
    for name, scheduler in DIFFUSERS.items():
        for method in scheduler.methods:
            if method.equal and method.id == info.id and _defaults(info, method.options):
                flags = {k: v for k, v in method.when.items() if scheduler.defaults[k] != v} | scheduler.exact
                found.append(
                    name + "".join(f"{'&' if n else '?'}{k}={_text(v)}" for n, (k, v) in enumerate(flags.items()))
                )
    return found


def names_of(info: SolverInfo) -> dict[str, list[str]]:
    """What each dialect calls a method, and the names that its own file adds."""
    classes = [
        name for name, scheduler in DIFFUSERS.items() if any(method.id == info.id for method in scheduler.methods)
    ]
    named = {"diffusers": classes} | {
        dialect: [name for name, target in names.items() if target.partition("?")[0] == info.id]
        for dialect, names in DIALECTS.items()
    }
    listed = {normal(name) for names in named.values() for name in names}
    others = [name for name in info.aliases if _bare(normal(name)) not in listed and normal(name) not in listed]
    return {dialect: names for dialect, names in (named | {"other names": others}).items() if names}


def cost_rule(info: SolverInfo) -> str:
    """What n steps cost in network calls."""
    if info.calls_per_step is None:
        return "adaptive: as many calls as the tolerances ask for"
    steps = "n" if info.calls_per_step == 1 else f"{info.calls_per_step}n"
    extra = f" {'+' if info.extra_calls > 0 else '−'} {abs(info.extra_calls)}" if info.extra_calls else ""
    least = f", n ≥ {info.least_steps}" if info.least_steps > 1 else ""
    return f"n steps cost {steps}{extra} calls{least}"


def describe(info: SolverInfo) -> dict[str, str | list[str]]:
    """All about one method for a reader: update, facts, what it is called where, and where it was published."""
    facts, reference = info.facts(), info.reference
    _, *notes = (inspect.getdoc(info.method) or "").split("\n\n")
    order = "none" if info.order is None else str(info.order)
    if info.order is not None and info.self_started != info.order:
        order += f", {info.self_started} from a cold start"
    if info.claimed is not None and info.claimed != info.order:
        order += f"; {info.claimed} claimed"
    if info.strong is not None:
        order += f"; strong {info.strong:g}"
    told: dict[str, str | list[str]] = {
        "solver": info.id,
        "update": facts["about"],
        **({"notes": " ".join(" ".join(notes).split())} if notes else {}),
        "kind": "stochastic" if info.kind == "sde" else "deterministic",
        "weak order" if info.kind == "sde" else "order": order,
        "cost": cost_rule(info),
        "grid": info.grid,
        "options": [f"{name}={_text(value)}" for name, value in info.options.items()] or "none",
        **names_of(info),
        "equal in diffusers": diffusers_of(info) or "no class",
        "published": ", ".join(filter(None, (reference.authors, reference.title, reference.link, reference.where))),
    }
    return told


def told_of(name: str) -> dict[str, str | list[str]]:
    """What a name in any dialect stands for, with the grid and the options that it says, and all about that method."""
    info, grid, options = resolve(name)
    said = [*([f"grid {grid}"] if grid else []), *(f"{option}={_text(value)}" for option, value in options.items())]
    return ({"name": f"{name}: {info.id}, {', '.join(said)}"} if said else {}) | describe(info)


def _label(head: str) -> Resolved | None:
    """An id, a label of another system, or either of them followed by the name of a grid."""
    key = normal(head)
    if key in {normal(id) for id in SOLVERS}:
        return Resolved(SOLVERS[ALIASES[key]], None, {})
    target = LABELS.get(_bare(key)) or LABELS.get(key)
    if target is not None:
        id, _, query = target.partition("?")
        info = SOLVERS[id]
        return Resolved(info, None, {k: _option(info, k, text) for k, text in parse_qsl(query)})
    for word in sorted(WORDS, key=len, reverse=True):
        if key.endswith(word) and (found := _label(key.removesuffix(word))) is not None:
            return found._replace(grid=str(parse_grid(WORDS[word])))
    return Resolved(SOLVERS[ALIASES[key]], None, {}) if key in ALIASES else None


def _bare(key: str) -> str:
    """A k-diffusion name without what does not tell methods apart."""
    return key.removeprefix("sample").removesuffix("gpu")


def _scheduler(name: str, given: dict[str, str]) -> Resolved:
    """The method of a diffusers class with some of its flags."""
    scheduler = DIFFUSERS[name]
    known = (*scheduler.defaults, *GRID_FLAGS, *GRID_VALUES, *OPTION_FLAGS, *PROCESS_FLAGS, *CHANGES_THE_ODE)
    for flag, text in given.items():
        if flag not in known:
            raise unknown(f"flag of {name}", flag, (*scheduler.defaults, *GRID_FLAGS, "timestep_spacing"))
        if flag in CHANGES_THE_ODE and text.lower() not in ("false", "0"):
            raise UsageError(
                f"{name}?{flag}={text}: no registered method has it, as it changes the equation that is solved"
            )
    chosen = {k: read_option(name, k, given[k], v) if k in given else v for k, v in scheduler.defaults.items()}
    for method in scheduler.methods:
        if all(chosen[flag] == value for flag, value in method.when.items()):
            info = SOLVERS[method.id]
            options = {k: v for k, v in method.options.items() if info.options.get(k) != v}
            return Resolved(info, _grid(scheduler, given), options | _ending(info, name, given))
    text = ", ".join(f"{k}={_text(v)}" for k, v in chosen.items())
    ids = sorted({method.id for method in scheduler.methods})
    raise UsageError(f"{name} with {text} is no registered method; its others are {', '.join(ids)}")


def _ending(info: SolverInfo, name: str, given: dict[str, str]) -> dict[str, Any]:
    """The options that flags name; off is what a method without the option does."""
    options: dict[str, Any] = {}
    for flag, option in OPTION_FLAGS.items():
        if flag in given and option in info.options:
            options[option] = options.get(option) or read_option(name, flag, given[flag], info.options[option])
        elif flag in given and read_option(name, flag, given[flag], False):
            raise UsageError(
                f"{name}?{flag}={given[flag]}: {info.id} takes its last steps as all others, and has no such option"
            )
    return {option: value for option, value in options.items() if value != info.options[option]}


def _grid(scheduler: Scheduler, given: dict[str, str]) -> str | None:
    """The grid that a class or its flags name."""
    grid = scheduler.grid
    if "timestep_spacing" in given:
        offset = f"?steps_offset={given['steps_offset']}" if "steps_offset" in given else ""
        grid = given["timestep_spacing"] + (offset if given["timestep_spacing"] == "leading" else "")
    grid = given.get("sigma_schedule", grid)
    for flag, named in GRID_FLAGS.items():
        grid = named if given.get(flag, "false").lower() in ("true", "1") else grid
    if grid is not None and grid.startswith("shift") and (shift := given.get("flow_shift", given.get("shift"))):
        grid = f"shift?shift={shift}"
    if grid == "karras" and "rho" in given:
        grid = f"karras?rho={given['rho']}"
    return None if grid is None else str(parse_grid(grid))


def _option(info: SolverInfo, key: str, text: str) -> Any:
    if key not in info.options:
        raise unknown(f"option of solver {info.id}", key, info.options) if info.options else UsageError(
            f"solver {info.id} takes no options, got {key!r}"
        )  # fmt: skip
    return read_option(f"solver {info.id}", key, text, info.options[key])


def _defaults(info: SolverInfo, options: Flags) -> bool:
    return all(info.options.get(name) == value for name, value in options.items())


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)

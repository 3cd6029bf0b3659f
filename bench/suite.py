"""A suite: lists of models, solvers and budgets in a small TOML file; its product is a list of cells."""

# ruff: noqa: RUF012  (pydantic copies what is mutable)

import tomllib
from difflib import get_close_matches
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError, unknown
from scorebench.reference_models.model import Model
from scorebench.solvers.facts import SOLVERS, SolverInfo
from scorebench.solvers.grids import parse_grid
from scorebench.solvers.likelihood import Prior
from scorebench.solvers.options import check_options
from scorebench.solvers.registry import find

from .endings import euler_at_final
from .entries import Grid, Level, Strict
from .entries import ModelEntry as ModelEntry
from .entries import SolverEntry as SolverEntry
from .execution import Execution
from .field_practice import find_peer, is_peer
from .placement import DEVICES
from .quality import METRICS

SHIPPED = Path(__file__).with_name("suites")
DATA_DEPENDENT = "its steps depend on the data"
SECTIONS = ("likelihood", "round_trip", "timing")  # that name models of the suite


class RoundTrip(Strict):
    """Data to noise and back, by every deterministic solver: on which models, with how many images, on which grid."""

    models: list[str]
    images: PositiveInt = 32
    grid: Grid = "logsnr"


class Likelihood(RoundTrip):
    """Likelihood by every deterministic solver: on which models, of how many images, on which grid.

    With the `exact` prior, the density at t_max of the models that have one, errors there are the solvers' own.
    """

    prior: Prior = "gaussian"


class Timing(Strict):
    """The time pass, of samples or of likelihoods: models, budgets (all by default), threads and anchor.

    A batch of 1 is the scenario of latency, a large one that of throughput. Rounds are interleaved; with `processes` they
    are repeated in as many fresh processes, as a baseline needs, without it they run in the process at work.
    """

    models: list[str]
    of: Literal["sample", "likelihood"] = "sample"
    budgets: list[PositiveInt] = []
    batches: list[PositiveInt] = [16]
    rounds: PositiveInt = 5
    processes: NonNegativeInt = 0
    threads: PositiveInt = 1
    anchor: str = "euler"


class Suite(Strict):
    """A validated suite; without `sampling` it measures only what its sections ask for.

    `solvers_of` takes those of another suite before its own. With `factors` every solver runs at each combination of their
    levels, and an analysis of variance says which matter.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    about: str = ""
    budgets: list[PositiveInt] = Field(min_length=1)
    models: list[ModelEntry] = Field(min_length=1)
    solvers_of: str | None = None
    solvers: list[SolverEntry] = Field(min_length=1)
    factors: dict[str, dict[str, Level]] = {}
    dtype: Literal["float32", "float64"] = "float32"
    device: Literal["cpu", "cuda"] = "cpu"
    execution: Execution = Execution()
    seed: int = 0
    noise_seeds: PositiveInt = 5  # of each stochastic solver, from the same latents
    metrics: list[str] = list(METRICS)
    sampling: bool = True
    likelihood: Likelihood | None = None
    round_trip: RoundTrip | None = None
    timing: Timing | None = None

    def entries(self) -> list[SolverEntry]:
        """Its solvers under their ids, each at every combination of the factors' levels."""
        found = [entry.resolved() for entry in self.solvers]
        for factor, levels in self.factors.items():
            found = [entry.at(factor, name, level) for entry in found for name, level in levels.items()]
        return found

    def on(self, address: str) -> tuple[set[str], list[int]]:
        """What of the suite runs on one of its models: ids of solvers, and budgets where not all do.

        The field's practices run on all.
        """
        ids = {entry.resolved().id for entry in self.solvers}
        model = next(entry for entry in self.models if entry.address == address)
        if model.solvers_of is not None:
            few = {entry.resolved().id for entry in load_suite(model.solvers_of).solvers}
            ids = {name for name in ids if name in few or is_peer(name)}
        return ids, model.budgets

    def select(
        self,
        models: list[str],
        solvers: list[str],
        budgets: list[int],
        grids: list[str] | None = None,
        device: str | None = None,
        execution: Execution | None = None,
        timed: bool | None = None,
    ) -> "Suite":
        """The part of the suite that the command line names; UsageError for a name the suite lacks, or one bad combination.

        `timed` times all of its models, those too that the suite does not, or none.
        """
        change: dict[str, Any] = {}
        if device is not None:
            if device not in DEVICES:
                raise unknown("device", device, DEVICES)
            change["device"] = device
        if execution is not None:
            change["execution"] = execution
        if models:
            known = {entry.address: entry for entry in self.models}
            change["models"] = [known.get(name) or ModelEntry(address=name, n=self.models[0].n) for name in models]
            for part in SECTIONS:
                section = getattr(self, part)
                if section is not None:
                    named = [m for m in models if m in section.models or m not in known]
                    change[part] = section.model_copy(update={"models": named}) if named else None
        if timed is not None:
            named = [model.address for model in change.get("models", self.models)]
            clock = self.timing or Timing(models=[])
            change["timing"] = clock.model_copy(update={"models": named}) if timed else None
        whole: dict[str, Any] = ({"solvers_of": None} if solvers else {}) | ({"budgets": []} if budgets else {})
        if whole:
            change["models"] = [entry.model_copy(update=whole) for entry in change.get("models", self.models)]
        if solvers:
            change["solvers"] = self._entries(solvers)
        if grids:
            if any(level.grid for levels in self.factors.values() for level in levels.values()):
                raise UsageError(f"suite {self.name} compares grids itself: leave --grid out")
            entries = change.get("solvers", self.solvers)
            change["solvers"] = [e.model_copy(update={"grid": grid}) for e in entries for grid in grids]
        if budgets:
            for grid in grids or []:
                if parse_grid(grid).steps is not None:
                    raise UsageError(f"grid {grid} fixes the number of steps: leave --budget out")
            change["budgets"] = budgets
            timing = change.get("timing", self.timing)
            change["timing"] = None if timing is None else timing.model_copy(update={"budgets": []})
        suite = Suite.model_validate(self.model_copy(update=change).model_dump())
        for info in map(solver_of, solvers if suite.execution.capture else []):
            if info.adaptive:
                raise UsageError(f"{info.id} cannot be captured, {DATA_DEPENDENT}: leave out {info.id} or capture")
        if len(models) == len(solvers) == len(budgets) == 1:
            info, model = solver_of(solvers[0]), load_model(models[0])
            needed = smallest_budget(info, model, calls_at_end=int(model.data is not None))
            if budgets[0] < needed:
                raise UsageError(f"{info.id} needs {needed} network calls on {models[0]}, got budget={budgets[0]}")
        return suite

    def _entries(self, solvers: list[str]) -> list[SolverEntry]:
        """The suite's entries of these solvers, and new ones for those it lacks or whose name says a grid or options."""
        named = [SolverEntry(id=name).resolved() for name in solvers]
        plain = {entry.id for entry in named if entry.grid is None and not entry.options}
        own = [entry for entry in (entry.resolved() for entry in self.solvers) if entry.id in plain]
        present = {entry.id for entry in own}
        return own + [entry for entry in named if entry.id not in plain or entry.id not in present]

    def check(self) -> None:
        """UsageError at the first name of a solver, option, grid or model that does not exist."""
        for entry in self.entries():
            info = solver_of(entry.id)
            if entry.euler_at_final:
                euler_at_final(info)
            for options in (entry.options, *entry.ladder):
                check_options(info, options)
            if info.adaptive and not entry.ladder:
                raise UsageError(
                    f"suite {self.name}: {info.id} is adaptive, give it a ladder of options, as in [{{ rtol = 1e-3 }}]"
                )
            if entry.ladder and not info.adaptive:
                raise UsageError(f"suite {self.name}: {info.id} has fixed steps, give it options instead of a ladder")
            if entry.grid is not None:
                parse_grid(entry.grid)
        if self.execution.autocast and self.dtype != "float32":
            raise UsageError(f"suite {self.name}: autocast narrows float32, got dtype {self.dtype}")
        for metric in self.metrics:
            if metric not in METRICS:
                raise unknown(f"metric in suite {self.name}", metric, METRICS)
        for section in (self.likelihood, self.round_trip):
            if section is not None:
                parse_grid(section.grid)
        for model in self.models:
            if model.solvers_of is not None and model.solvers_of not in shipped_suites():
                raise unknown(f"suite in solvers_of of model {model.address}", model.solvers_of, shipped_suites())
            if outside := [budget for budget in model.budgets if budget not in self.budgets]:
                raise UsageError(
                    f"suite {self.name}: budget {outside[0]} of model {model.address} is none of the suite's, "
                    f"{', '.join(map(str, self.budgets))}"
                )
        known = [entry.address for entry in self.models]
        for name in SECTIONS:
            for address in section.models if (section := getattr(self, name)) else []:
                if address not in known:
                    raise unknown(f"model in [{name}] of suite {self.name}", address, known)
        if self.timing is not None and self.timing.of == "likelihood" and self.likelihood is None:
            raise UsageError(f"suite {self.name} times likelihoods: it needs a section [likelihood]")
        if self.timing is not None and find(self.timing.anchor).adaptive:
            raise UsageError(f"suite {self.name}: the anchor {self.timing.anchor} must have fixed steps, as euler has")


def solver_of(name: str) -> SolverInfo:
    """A registered solver, or a practice of the field as `peer:NAME`; UsageError with the nearest otherwise."""
    if name in SOLVERS:  # spares the search among aliases: a suite asks for every cell
        return SOLVERS[name]
    return find_peer(name).info if is_peer(name) else find(name)


def evaluations_per_call(model: Model) -> int:
    """What one call of the denoiser spends on a sample: 2 under classifier-free guidance."""
    return int(getattr(model, "evaluations_per_call", 1))


def smallest_budget(info: SolverInfo, model: Model, calls_at_end: int, options: dict[str, Any] | None = None) -> int:
    """The fewest network evaluations that buy the least steps of a solver, with these options, and the calls at the end."""
    return ((info.calls(info.least_steps, options) or 1) + calls_at_end) * evaluations_per_call(model)


def shipped_suites() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_suite(name: str) -> Suite:
    """A shipped suite by name, or one of the user's by its path (*.toml); UsageError says what is wrong in it."""
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    if not path.is_file():
        if name.endswith(".toml"):
            raise UsageError(f"suite {name!r}: no such file")
        raise unknown("suite", name, shipped_suites())
    try:
        suite = Suite.model_validate(_read(path))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"suite {path}: {error}") from None
    except ValidationError as error:
        raise UsageError(f"suite {path}: {_first_problem(error)}") from None
    suite.check()
    check_crossed(suite)
    return suite


def _read(path: Path) -> dict[str, Any]:
    """The tables of a file, with the solvers of the suite that it names before its own."""
    body = tomllib.loads(path.read_text())
    name, own = body.get("solvers_of"), body.get("solvers", [])
    if isinstance(name, str) and isinstance(own, list):
        others = [suite for suite in shipped_suites() if SHIPPED / f"{suite}.toml" != path]
        if name not in others:
            raise unknown(f"suite in solvers_of of {path}", name, others)
        body["solvers"] = [*_read(SHIPPED / f"{name}.toml")["solvers"], *own]
    return body


def check_crossed(suite: Suite) -> None:
    """UsageError unless the solvers of a suite with factors are one for each combination of the levels that they stand for."""
    if not suite.factors:
        return
    found = [entry.levels for entry in suite.solvers]
    names = list(dict.fromkeys(name for levels in found for name in levels))
    for entry in suite.solvers:
        if missing := [name for name in names if name not in entry.levels]:
            raise UsageError(f"suite {suite.name} has factors: {entry.id} has no level of {missing[0]}")
    values = [list(dict.fromkeys(levels[name] for levels in found)) for name in names]
    for combination in product(*values):
        wanted = dict(zip(names, combination, strict=True))
        if (count := found.count(wanted)) != 1:
            told = ", ".join(f"{name} = {level}" for name, level in wanted.items()) or "no level"
            raise UsageError(f"suite {suite.name} has factors: it needs one solver with {told}, got {count}")
    if clash := sorted(set(names) & set(suite.factors)):
        raise UsageError(f"suite {suite.name}: {clash[0]} is a factor and a level of its solvers at once")


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        sections: dict[str, type[Strict]] = {
            "models": ModelEntry, "solvers": SolverEntry, "factors": Level, "likelihood": Likelihood,
            "round_trip": RoundTrip, "timing": Timing, "execution": Execution,
        }  # fmt: skip
        kind = sections.get(str(problem["loc"][0]), Suite) if len(problem["loc"]) > 1 else Suite
        near = get_close_matches(str(problem["loc"][-1]), list(kind.model_fields), n=1, cutoff=0.4)
        return f"unknown key {place!r}" + (
            f", did you mean {near[0]!r}?" if near else f", choose from {', '.join(kind.model_fields)}"
        )
    return f"{place}: {problem['msg'][0].lower()}{problem['msg'][1:]}, got {problem['input']!r}"

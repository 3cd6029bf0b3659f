"""The cells of a suite: what each is (its configuration), and the key under which the store keeps it."""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import ExactModel, Model, model_digest
from scorebench.reference_models.network import NetworkModel
from scorebench.solvers.facts import SolverInfo
from scorebench.solvers.grids import OPTIMISE, check_points, make_grid, parse_grid
from scorebench.solvers.likelihood import Prior

from . import optimised_grids
from .endings import euler_at_final
from .entries import SolverEntry
from .execution import executed
from .features import Extractor, extractor_of, has_data
from .field_practice import find_peer, is_peer
from .fingerprint import fingerprint_of
from .inception import inception_for
from .moments import coordinates, known
from .placement import device_name, full_precision, on_host
from .provenance import machine, package_version
from .store import SCHEMA, Json, Store, key_of
from .suite import DATA_DEPENDENT, Suite, Timing, evaluations_per_call, smallest_budget, solver_of

Pass = Literal["sample", "likelihood", "round-trip", "time", "likelihood-time"]
TIMED = ("time", "likelihood-time")
DRIVERS = {
    "sample": "scorebench.solvers.drive",
    "time": "scorebench.solvers.drive",
    "likelihood": "scorebench.solvers.likelihood",
    "likelihood-time": "scorebench.solvers.likelihood",
    "round-trip": "scorebench.solvers.latent_codes",
}
FROM_DATA = ("likelihood", "round-trip", "likelihood-time")


@dataclass(frozen=True)
class Cell:
    """One measurement: a pass over one model by one solver with its options, grid and budget."""

    config: Json
    model: Model
    info: SolverInfo
    extractor: Extractor
    more: tuple[Extractor, ...] = ()  # besides
    levels: tuple[tuple[str, str], ...] = ()  # of the suite's factors
    store: Store | None = None  # where optimised grids are kept

    @property
    def key(self) -> str:
        return key_of(self.config)

    @property
    def steps(self) -> int:
        """The steps that the budget buys beside the one call at the end: the final denoise, or the last node of the path.

        On a round trip it buys them both ways.
        """
        budget = self.config["budget"]
        if budget is None:
            return 1
        calls = budget // (evaluations_per_call(self.model) * self.ways)
        return self.info.steps(calls - self.calls_at_end, self.config["options"])

    @property
    def calls_at_end(self) -> int:
        return int(self.config["denoise"] or (self.of_likelihood and not self.info.adaptive))

    @property
    def ways(self) -> int:
        return 2 if self.config["pass"] == "round-trip" else 1

    @property
    def of_likelihood(self) -> bool:
        return self.config["pass"] in ("likelihood", "likelihood-time")

    @property
    def prior(self) -> Prior:
        """Of a likelihood; not in configurations that have the Gaussian, which are older."""
        return "exact" if self.config.get("prior") == "exact" else "gaussian"

    @property
    def timed(self) -> bool:
        return self.config["pass"] in TIMED

    @property
    def needed(self) -> int:
        """The smallest budget that this solver can use here."""
        return smallest_budget(self.info, self.model, self.calls_at_end, self.config["options"]) * self.ways

    @property
    def runs(self) -> Model:
        """The model as it runs here: its network as the configuration says."""
        return executed(self.model, self.execution, self.device)

    @property
    def execution(self) -> Json:
        """How the network runs; not in configurations of one that runs as it is."""
        return dict(self.config.get("execution", {}))

    @property
    def obstacle(self) -> str:
        """Why this cell cannot be measured here; empty where it can."""
        if self.info.adaptive and self.execution.get("capture"):
            return f"cannot be captured: {DATA_DEPENDENT}"
        if is_peer(self.info.id) and (missing := find_peer(self.info.id).missing):
            return missing
        return "" if self.steps >= 1 else f"needs {self.needed} network calls"

    def grid(self) -> torch.Tensor:
        """The times of the solve (n + 1,): decreasing to sample, increasing for likelihood."""
        steps, (first, last) = max(self.steps, 1), ends(self.config["pass"], self.model)
        if teacher := self._teacher():
            grid = teacher.grid(steps, optimised_grids.options_of(parse_grid(self.config["grid"]))["coefficient"])
            return grid if first > last else grid.flip(0)
        return make_grid(
            "time_uniform" if self.info.adaptive else self.config["grid"], self.model.process, steps, first, last
        )

    def grid_cost(self) -> Json:
        """The network calls that the making of the grid took, all budgets together; nothing where it has a closed form."""
        teacher = self._teacher()
        return {} if teacher is None else teacher.spent

    def _teacher(self) -> optimised_grids.Teacher | None:
        if self.info.adaptive or (name := parse_grid(self.config["grid"])).id != OPTIMISE:
            return None
        high, low = max(ends(self.config["pass"], self.model)), min(ends(self.config["pass"], self.model))
        with on_host(self.model, self.dtype, self.device):
            return optimised_grids.teacher(name, self.model, high, low, self.dtype, self.store)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64 if self.config["dtype"] == "float64" else torch.float32

    @property
    def device(self) -> torch.device:
        """Where the solve runs; not in configurations of the processor, which are older."""
        return torch.device(self.config.get("device", "cpu"))

    def label(self) -> str:
        budget = self.config["budget"] or " ".join(f"{k}={v:g}" for k, v in self.config["options"].items())
        return f"{self.config['pass']} {self.config['model']} {self.info.id} {budget}"


def ends(kind: str, model: Model) -> tuple[float, float]:
    """Where a pass starts and ends: from noise to sample, from data for likelihood."""
    p = model.process
    return (p.t_min_likelihood, p.t_max) if kind in FROM_DATA else (p.t_max, p.t_min)


def plan(suite: Suite) -> list[Cell]:
    """Every cell of a checked suite once, the time pass last."""
    models = {entry.address: load_model(entry.address) for entry in suite.models}
    digests = {address: model_digest(model) for address, model in models.items()}
    cells: dict[str, Cell] = {}
    entries = suite.entries()
    passes: list[tuple[Pass, list[str], Json]] = [("sample", list(models), {})] if suite.sampling else []
    if suite.likelihood is not None:
        passes.append(("likelihood", suite.likelihood.models, {"n": suite.likelihood.images}))
    if suite.round_trip is not None:
        passes.append(("round-trip", suite.round_trip.models, {"n": suite.round_trip.images}))
    if suite.timing is not None:
        kind: Pass = "time" if suite.timing.of == "sample" else "likelihood-time"
        passes += [(kind, suite.timing.models, clock(suite.timing, batch)) for batch in suite.timing.batches]
    sizes = {entry.address: entry.n for entry in suite.models}
    for kind, addresses, extra in passes:
        budgets = suite.timing.budgets or suite.budgets if kind in TIMED and suite.timing else suite.budgets
        for address in addresses:
            ids, affordable = suite.on(address)
            for entry in (entry for entry in entries if entry.id in ids):
                for options, budget in _variants(entry, [b for b in budgets if not affordable or b in affordable]):
                    config = {"n": sizes[address], **extra, "model": address, "model_digest": digests[address]}
                    cell = make_cell(kind, models[address], entry, options, budget, suite, config)
                    if suits(cell):
                        cells.setdefault(cell.key, cell)
    return list(cells.values())


def cells_of(suite: Suite, store: Store) -> list[Cell]:
    """The cells of a suite, which find optimised grids in the store, their networks in its precision and on its device."""
    cells = [replace(cell, store=store) for cell in plan(suite)]
    for cell in cells:
        if isinstance(cell.model, NetworkModel):
            cell.model.to(cell.dtype, cell.device)
    if suite.device == "cuda":
        full_precision()
    return cells


def clock(timing: Timing, batch: int) -> Json:
    """What a time depends on beside what it is a time of."""
    asked = {"n": batch} | {name: getattr(timing, name) for name in ("rounds", "processes", "threads", "anchor")}
    return asked | {"torch_version": torch.__version__, "package_version": package_version(), "machine": machine()}


def suits(cell: Cell) -> bool:
    """From data only deterministic solvers go, on models that have some; peers take likelihoods alone."""
    if is_peer(cell.info.id) and not cell.of_likelihood:
        return False
    stochastic = cell.info.stochastic(cell.config["options"])
    return cell.config["pass"] not in FROM_DATA or (has_data(cell.model) and not stochastic)


def make_cell(
    kind: Pass, model: Model, entry: SolverEntry, options: Json, budget: int | None, suite: Suite, extra: Json
) -> Cell:
    """One cell; its configuration holds all that determines the result and nothing that does not."""
    info, extractor, levels = solver_of(entry.id), extractor_of(model), tuple(entry.levels.items())
    section = {"likelihood": suite.likelihood, "likelihood-time": suite.likelihood, "round-trip": suite.round_trip}.get(
        kind
    )
    grid = parse_grid(section.grid if section is not None else entry.grid or info.grid)
    usual = model.data is not None and kind not in FROM_DATA
    denoise = usual if entry.denoise is None or kind in FROM_DATA else entry.denoise
    ending = ({"denoise": denoise} if denoise != usual else {}) | (
        {"euler_at_final": True} if entry.euler_at_final else {}
    )
    if grid.steps is not None and not info.adaptive:  # a list fixes the number of steps, and so the budget
        check_points(grid, model.process, *ends(kind, model))
        calls = info.calls(grid.steps, options) or 0
        spent = 2 * calls if kind == "round-trip" else calls + int(denoise or kind in FROM_DATA)
        budget = spent * evaluations_per_call(model)
    made_by = ["scorebench.bench.optimised_grids"] if grid.id == OPTIMISE else ["scorebench.solvers.grids"]
    made_by += ["scorebench.bench.endings"] if entry.euler_at_final else []
    asked = suite.execution.of(kind, model)
    made_by += ["scorebench.bench.execution"] if asked else []
    config = {
        "schema": SCHEMA,
        "pass": kind,
        "process": model.process.name,
        "solver": info.id,
        "options": options,
        "kind": "sde" if info.stochastic(options) else "ode",
        "eta": info.eta(options),
        "grid": "adaptive" if info.adaptive else str(grid),
        "budget": budget,
        "dtype": suite.dtype,
        "seed": suite.seed,
        "denoise": denoise,
        "source": fingerprint_of(info.method, DRIVERS[kind], *made_by) + fingerprint_of(type(model)),
        **extra,
    }
    if entry.euler_at_final:
        info = euler_at_final(info)
    if ending:
        config["ending"] = ending
    if suite.device != "cpu":  # rounds differently
        config["device"] = suite.device
        if kind in TIMED:
            config["gpu"] = device_name(torch.device(suite.device))
    if asked:
        config["execution"] = asked
    if section is suite.likelihood is not None and suite.likelihood.prior == "exact" and isinstance(model, ExactModel):
        config["prior"] = "exact"
    if is_peer(info.id):
        config["package"] = find_peer(info.id).found
    if kind == "sample":
        more = more_extractors(model, extractor)
        config["features"] = {"name": extractor.name, "digest": extractor.digest}
        config["more"] = {other.name: other.digest for other in more} | ({"log_p": ""} if known(model) else {})
        if config["kind"] == "sde":
            config["noise_seeds"] = suite.noise_seeds
        return Cell(config, model, info, extractor, more, levels)
    return Cell(config, model, info, extractor, levels=levels)


def more_extractors(model: Model, first: Extractor) -> tuple[Extractor, ...]:
    """What else a sample cell keeps: coordinates whose exact moments are known, unless the features are these; Inception's."""
    exact = (coordinates(model),) if known(model) and coordinates(model) is not first else ()
    inception = inception_for(model)
    return exact if inception is None else (*exact, inception)


def _variants(entry: SolverEntry, budgets: list[int]) -> list[tuple[dict[str, float | bool | str], int | None]]:
    if entry.ladder:
        return [({**entry.options, **rung}, None) for rung in entry.ladder]
    return [(entry.options, budget) for budget in budgets]

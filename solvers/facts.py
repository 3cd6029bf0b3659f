"""What a solver declares about itself, and the decorator that enters it into the registry."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

from torch import Tensor

Step = tuple[float | Tensor, Tensor]  # where the method has arrived: t, a number or one per sample (b,), and x (b, *d)
Method = Callable[..., Iterator[Step]]
Kind = Literal["ode", "sde"]
CallsAt = Literal["accepted", "predicted"]

SOLVERS: dict[str, "SolverInfo"] = {}
ALIASES: dict[str, str] = {}


@dataclass(frozen=True)
class Reference:
    """Where the method was published: authors and year, title, arXiv or DOI, and the equation or algorithm."""

    authors: str
    title: str
    link: str
    where: str = ""


@dataclass(frozen=True)
class SolverInfo:
    """The facts of one registered method; `method` is a generator function (problem, x (b, *d), grid (n + 1,)).

    `order` is the order from exact starting values and `self_started` the order from a cold start (the same unless
    the method is multistep), for stochastic methods the weak order; `claimed` is what the paper says, where that differs,
    `strong` a stochastic method's strong order and `drift` its order when its noise is left out. n steps cost
    n · `calls_per_step` + `extra_calls` network calls and there are at least `least_steps`; an adaptive method has no such
    rule. `calls_at` says where the call at each time of the grid is made: at the point that the method accepts or, as in
    predictor–correctors, at the point it predicts there.
    `extra_calls_of` gives the extra calls as a function of the options, where they change them; `extra_calls` is then its
    value for the defaults. `dial` gives the noise dial η where no option `eta` or `tau` does: None is noise without one.
    """

    id: str
    method: Method
    kind: Kind
    order: int | None
    self_started: int | None
    calls_per_step: int | None
    grid: str
    reference: Reference
    aliases: tuple[str, ...]
    options: dict[str, Any]
    claimed: int | None = None
    strong: float | None = None
    drift: int | None = None
    extra_calls: int = 0
    least_steps: int = 1
    calls_at: CallsAt = "accepted"
    extra_calls_of: Callable[..., int] | None = None
    dial: Callable[..., float | None] | None = None

    @property
    def adaptive(self) -> bool:
        return self.calls_per_step is None

    def stochastic(self, options: dict[str, Any]) -> bool:
        """Whether it injects noise with these options (`ddim` does for eta > 0)."""
        return bool(self.kind == "sde" or options.get("eta", self.options.get("eta", 0.0)))

    def eta(self, options: dict[str, Any]) -> float | None:
        """The dial of the reverse problem's noise: 0 the probability-flow ODE, 1 the reverse SDE, None for other noise."""
        chosen = {**self.options, **options}
        if self.dial is not None:
            return self.dial(**chosen)
        return float(chosen.get("eta", chosen.get("tau", 1.0 if self.kind == "sde" else 0.0)))

    def extra(self, options: dict[str, Any] | None = None) -> int:
        """The network calls beside those of the steps, with these options."""
        return self.extra_calls_of(**self.options | (options or {})) if self.extra_calls_of else self.extra_calls

    def steps(self, budget: int, options: dict[str, Any] | None = None) -> int:
        """The most steps that `budget` network calls pay for; 0 when the budget is too small."""
        if self.calls_per_step is None:
            return 1
        steps = (budget - self.extra(options)) // self.calls_per_step
        return steps if steps >= self.least_steps else 0

    def calls(self, steps: int, options: dict[str, Any] | None = None) -> int | None:
        """Network calls that so many steps cost; None for an adaptive method."""
        return None if self.calls_per_step is None else steps * self.calls_per_step + self.extra(options)

    def facts(self) -> dict[str, Any]:
        """The same as plain data, for stores and tables."""
        doc = (inspect.getdoc(self.method) or "").split("\n\n")[0].replace("\n", " ")
        return {
            "id": self.id,
            "kind": self.kind,
            "order": self.order,
            "self_started": self.self_started,
            "claimed": self.order if self.claimed is None else self.claimed,
            "strong": self.strong,
            "drift": self.drift,
            "calls_per_step": self.calls_per_step,
            "extra_calls": self.extra_calls,
            "grid": self.grid,
            "reference": vars(self.reference),
            "aliases": list(self.aliases),
            "options": self.options,
            "about": doc,
        }


class MoreFacts(TypedDict, total=False):
    """Facts that only some methods have to state; see `SolverInfo`."""

    claimed: int | None
    strong: float | None
    drift: int | None
    extra_calls: int
    least_steps: int
    calls_at: CallsAt
    extra_calls_of: Callable[..., int] | None
    dial: Callable[..., float | None] | None


def solver(
    id: str,
    *,
    kind: Kind = "ode",
    order: int | None,
    self_started: int | None = None,
    calls_per_step: int | None = 1,
    grid: str = "logsnr",
    reference: Reference,
    aliases: tuple[str, ...] = (),
    **facts: Unpack[MoreFacts],
) -> Callable[[Method], Method]:
    """Register a generator function under `id`; its keyword-only arguments are the solver's options.

    The facts are those of `SolverInfo`.

    ValueError when the id or an alias is taken, or an option has no default.
    """

    def register(method: Method) -> Method:
        options = {}
        for name, parameter in inspect.signature(method).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY:
                if parameter.default is parameter.empty:
                    raise ValueError(f"solver {id}: option {name} needs a default")
                options[name] = parameter.default
        started = order if self_started is None else self_started
        calls_of = facts.get("extra_calls_of")
        if calls_of is not None:
            facts["extra_calls"] = calls_of(**options)
        info = SolverInfo(id, method, kind, order, started, calls_per_step, grid, reference, aliases, options, **facts)
        names = {normal(name): name for name in (id, *aliases)}
        for key, name in names.items():
            if key in ALIASES:
                raise ValueError(f"solver {id}: the name {name!r} is taken by {ALIASES[key]}")
        SOLVERS[id] = info
        ALIASES.update(dict.fromkeys(names, id))
        return method

    return register


def normal(name: str) -> str:
    """A name without case, spaces and punctuation, so that `dpmpp_2m`, `DPM++ 2M` and `dpmpp-2m` are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("++", "pp"))

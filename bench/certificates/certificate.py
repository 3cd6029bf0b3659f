"""A certificate: every claim of a method, measured. Registered methods are held to theirs; foreign samplers are told apart."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch

from scorebench.bench.fingerprint import fingerprint_of
from scorebench.solvers.facts import SolverInfo

from . import checks, likeness, strong, weak
from .checks import Verdict
from .foreign import foreign
from .orders import Observed, observe, observe_tolerances
from .own_times import stride_error

GRIDS = ("time_uniform", "logsnr", "karras")
PROCESSES = ("vp", "subvp", "ve", "edm")
TOLERANCE = 0.2
FLOOR = 1e-7  # of errors of samplers that step in float32
OPTIONAL = {"k-diffusion": "k_diffusion", "torchsde": "torchsde"}  # libraries that need not be installed
UNHELPED = ("Singlestep", ":PNDM")  # schedulers that no exact past can be put into
PAPER = "order its paper claims"
Check = Callable[[SolverInfo, dict[str, Any], int], Iterator[Verdict]]


@dataclass(frozen=True)
class Certificate:
    """The verdicts on one method with some options; `source` is the fingerprint of the code or the version behind it."""

    id: str
    options: dict[str, Any]
    source: str
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        return all(verdict.passed is not False for verdict in self.verdicts)

    @property
    def verdict(self) -> str:
        """The whole in one line: what fails, and where a method does not reach its paper's order."""
        failed = [verdict.check for verdict in self.verdicts if verdict.passed is False]
        paper = [
            f"its paper claims order {v.claimed}, it measures {v.measured}" for v in self.verdicts if v.check == PAPER
        ]
        return "; ".join([f"fails: {', '.join(failed)}" if failed else "holds", *paper])

    def facts(self) -> dict[str, Any]:
        """The same as plain data."""
        return {**asdict(self), "passed": self.passed, "verdict": self.verdict}


def certify(info: SolverInfo, options: dict[str, Any] | None = None, seed: int = 0) -> Certificate:
    """Measure every claim of a registered method, along the samples and paths of a seed."""
    wanted = (orders, tolerances, stochastic, kept, peers, *checks.CHECKS, equals)
    return Certificate(info.id, options or {}, source_of(info), tuple(_verdicts(info, options or {}, seed, wanted)))


def certify_foreign(address: str, seed: int = 0) -> Certificate:
    """Measure the orders of another library's sampler, and say which registered method it equals."""
    library = address.partition(":")[0]
    wanted = (foreign_orders, tolerances, equals, own_grid, checks.cost, checks.batches, reads)
    found = tuple(_verdicts(foreign(address), {}, seed, wanted))
    return Certificate(address, {}, f"{library} {version(library)}", found)


def source_of(info: SolverInfo) -> str:
    """The fingerprint of a method's code: what it says was measured on."""
    return str(fingerprint_of(info.method, "scorebench.solvers.problem"))


def _verdicts(info: SolverInfo, options: dict[str, Any], seed: int, wanted: tuple[Check, ...]) -> Iterator[Verdict]:
    """The verdicts of some checks; one that the method breaks down in is a failed one, with the cause."""
    for check in wanted:
        try:
            with torch.no_grad():
                yield from check(info, options, seed)
        except Exception as error:  # whatever a method may raise is a verdict on it
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
            yield Verdict(check.__name__.replace("_", " "), "runs", cause, False)


def orders(info: SolverInfo, options: dict[str, Any], seed: int) -> Iterator[Verdict]:
    """Orders of a fixed-step deterministic method: on three grids, on all processes, and from a cold start."""
    if info.adaptive or info.stochastic(options) or info.order is None:
        return
    for grid in GRIDS:
        found = observe(info, "flow", grid, options=options, seed=seed)
        yield _order(f"order, exact start, {grid}", info.order, found)
    for process in PROCESSES:
        yield _order(f"order on {process}", info.order, observe(info, process, options=options, seed=seed))
    started = info.self_started if info.self_started is not None else info.order
    if started == info.order:
        cold = observe(info, "flow", "time_uniform", False, options=options, seed=seed)
    else:  # where the start caps the order, its error dominates only on fine grids, and not on every process
        slow = (observe(info, on, "time_uniform", False, (512, 1024), options, seed=seed) for on in ("flow", "ve"))
        cold = min(slow, key=lambda found: found.value)
    yield _order("order, self-started", started, cold)
    if info.claimed is not None and info.claimed != info.order:
        yield Verdict(PAPER, f"{info.claimed}", _interval(found), None, found.value)


def tolerances(info: SolverInfo, options: dict[str, Any], seed: int) -> Iterator[Verdict]:
    """Of an adaptive deterministic method: that its error falls in proportion to the tolerance that it is given."""
    if not info.adaptive or info.stochastic(options):
        return
    for process in ("flow", *PROCESSES):
        found = observe_tolerances(info, process, options, seed)
        passed = abs(found.value - 1) <= TOLERANCE
        yield Verdict(
            f"error over tolerance on {process}", "power 1", f"{_interval(found)} down to {found.ladder[-1][0]:.0e}",
            passed, found.value, found.low, found.high, found.ladder,
        )  # fmt: skip


def stochastic(info: SolverInfo, options: dict[str, Any], seed: int) -> Iterator[Verdict]:
    """Of a method with noise: weak order by quadrature, strong order by coupled paths, and its drift's order, which is a fact.

    A method whose dial `eta` is 0 by default is looked at with eta = 1; an adaptive one in single steps.
    """
    dialled = {**weak.noise_options(info)[-1], **weak.ONE_STEP.get(info.id, {}), **options}
    if info.order is None or not info.stochastic(dialled) or (info.adaptive and info.id not in weak.ONE_STEP):
        return
    for process in ("vp", "subvp", "ve", "flow"):
        value = weak.weak_order(info, process, dialled)
        passed = abs(value - info.order) <= TOLERANCE
        yield Verdict(f"weak order on {process}", f"{info.order}", f"{value:.2f} by quadrature", passed, value)
    if info.claimed is not None and info.claimed != info.order:
        yield Verdict(PAPER, f"{info.claimed}", f"{value:.2f} by quadrature", None, value)
    if info.adaptive:
        return
    if info.strong is not None:
        yield _order("strong order", info.strong, strong.strong_order(info, "vp", dialled, seed))
    yield _order("order of the drift", info.drift, observe(info, "vp", "logsnr", options=dialled, seed=seed))


def kept(info: SolverInfo, options: dict[str, Any], seed: int) -> Iterator[Verdict]:
    """Of a method with noise and no order: that p_t stays as it is when steps and noise shrink."""
    if info.order is not None or info.id not in weak.SHRINKING:
        return
    claimed, _ = weak.SHRINKING[info.id]
    for process in ("vp", "subvp", "ve", "flow"):
        found = weak.kept_order(info, process)
        passed = abs(found - claimed) <= TOLERANCE
        yield Verdict(
            f"keeps p_t on {process}", f"to order {claimed}", f"to order {found:.2f} by quadrature", passed, found
        )


def foreign_orders(info: SolverInfo, options: dict[str, Any], seed: int) -> Iterator[Verdict]:
    """Orders of another library's sampler; many step in float32, so the grids are coarser."""
    if info.adaptive or info.order is None:
        return
    what, least = ("order of the drift", info.drift) if info.stochastic(options) else ("order", info.order)
    ladder = (9, 18, 36, 72, 144) if "Singlestep" in info.id else (8, 16, 32, 64, 128)
    for grid in () if any(word in info.id for word in UNHELPED) else GRIDS[1:]:
        found = observe(info, "vp", grid, True, ladder, floor=FLOOR, seed=seed)
        yield _at_least(f"{what}, exact start, {grid}", least, found)
    started = observe(info, "vp", "karras", False, ladder, floor=FLOOR, seed=seed)
    yield _order(f"{what}, self-started, karras", None, started)  # a low-order start is no broken claim


def equals(info: SolverInfo, options: dict[str, Any], seed: int) -> Iterator[Verdict]:
    """The registered methods that end where this one ends."""
    if info.adaptive:
        return
    found = likeness.likenesses(info, options)
    same = [one for one in found if one.same]
    text = ", ".join(one.text() for one in same) or f"none; nearest {found[0].text()}"
    where = likeness.place_of(info.id).where().lstrip(", ")
    yield Verdict("equals", "", f"{text}; {where}" if where else text, None, found[0].difference)


def peers(info: SolverInfo, options: dict[str, Any], seed: int) -> Iterator[Verdict]:
    """The other implementations, released ones among them, that the method must end with."""
    claimed = likeness.identities(info.id)
    for one in claimed:
        check = f"equals {one.other}{one.where()}"
        if any(one.other.startswith(f"{name}:") and find_spec(module) is None for name, module in OPTIONAL.items()):
            yield Verdict(check, "", "not installed", None)
            continue
        found, limit = likeness.difference(info, options, one), likeness.SAME if one.released else likeness.ROUND_OFF
        yield Verdict(check, f"< {limit:.0e}", f"{found:.0e}", found < limit, found)
    if not any(one.released for one in claimed):
        yield Verdict("released peer", "", "no peer", None)


def own_grid(info: SolverInfo, options: dict[str, Any], seed: int) -> Iterator[Verdict]:
    """Whether a DDIM scheduler, at the 40 times that it chooses itself, steps from each to the next."""
    if info.id.startswith("diffusers:DDIMScheduler"):
        found = stride_error(info.id)
        yield Verdict("DDIM on its own times", "< 1e-05", f"{found:.0e}", found < likeness.SAME, found)


def reads(info: SolverInfo, options: dict[str, Any], seed: int) -> Iterator[Verdict]:
    """Reads of the state by the host inside the loop: a fact of a library, that promises nothing about it."""
    for verdict in checks.host_reads(info, options, seed):
        yield replace(verdict, claimed="", passed=None)


def _at_least(check: str, claimed: int | None, found: Observed) -> Verdict:
    verdict = _order(check, claimed, found)
    return verdict if claimed is None else replace(verdict, passed=found.value >= claimed - TOLERANCE)


def _order(check: str, claimed: float | None, found: Observed) -> Verdict:
    text = f"{_interval(found)} at {found.ladder[-1][0]} steps"
    passed = None if claimed is None else abs(found.value - claimed) <= TOLERANCE
    said = "" if claimed is None else f"{claimed:g}"
    return Verdict(check, said, text, passed, found.value, found.low, found.high, found.ladder)


def _interval(found: Observed) -> str:
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"

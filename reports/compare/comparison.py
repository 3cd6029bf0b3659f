"""The answer of a comparison: what was found on each level, as a table, as Markdown for a pull request, as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, groupby
from math import isnan

from scorebench.reference_models.errors import UsageError, unknown
from scorebench.reports.markdown import table
from scorebench.reports.wording import count

from .levels import LEVELS, RULES, Finding
from .side import CELL, Side

VERDICTS = ("regression", "warning", "improvement", "new")
COMMENT = 64_000  # characters; GitHub refuses a comment of more than 65,536
HEADINGS = ("level", "solver", "model", "what", "budget", "base", "new", "why")


@dataclass(frozen=True)
class Comparison:
    """What two sides differ in, worst first; `cells` is how many they share."""

    base: str
    new: str
    cells: int
    levels: tuple[str, ...]
    findings: list[Finding]
    notes: list[str]

    def of(self, verdict: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict == verdict]

    @property
    def regressed(self) -> bool:
        return bool(self.of("regression"))

    def summary(self) -> str:
        """One line."""
        found = ", ".join(f"{len(self.of(verdict))} {verdict}{'s' * (verdict != 'new')}" for verdict in VERDICTS)
        return f"{self.new} against {self.base}: {self.cells} cells compared by {', '.join(self.levels)}; {found}"


def compare(base: Side, new: Side, levels: Sequence[str] = (), partial: bool = False) -> Comparison:
    """Compare on these levels, or on all; with `partial`, what only the base has is no regression.

    UsageError for an unknown level, or where the sides share no cell.
    """
    for level in levels:
        if level not in LEVELS:
            raise unknown("level", level, LEVELS)
    chosen = tuple(level for level in LEVELS if level in levels or not levels)
    shared = len(base.rows[CELL].drop_duplicates().merge(new.rows[CELL].drop_duplicates(), on=CELL))
    if not shared:
        raise UsageError(
            f"{base.name} and {new.name} share no cell: the same suite, with as many samples, fills both sides"
        )
    findings = [finding for level in chosen for finding in RULES[level](base, new)]
    if partial:
        findings = [f for f in findings if not f.why.startswith("not measured")]
    order = {verdict: place for place, verdict in enumerate(VERDICTS)}
    findings.sort(key=lambda f: (order[f.verdict], LEVELS.index(f.level), f.solver, f.model))
    return Comparison(base.name, new.name, shared, chosen, findings, notes(base, new))


def notes(base: Side, new: Side) -> list[str]:
    """What keeps a comparison from being a full one."""
    said = []
    digests = [dict(zip(side.rows["model"], side.rows["model_digest"], strict=True)) for side in (base, new)]
    for model in sorted(digests[0].keys() & digests[1].keys()):
        if digests[0][model] and digests[0][model] != digests[1][model]:
            said.append(f"{model}: not the same model on both sides, so only its cells and counts are compared")
    places = [set(zip(side.rows["machine"], side.rows["torch_version"], strict=True)) for side in (base, new)]
    if not places[0] & places[1]:
        said.append(
            "another machine or torch: times are not compared, and golden numbers may differ by 2 %, "
            "of adaptive methods by the margins of quality"
        )
    if set(base.rows["seed_block"]) != set(new.rows["seed_block"]):
        said.append("other seeds: no golden numbers, and quality without pairs")
    return said


def markdown(comparison: Comparison) -> str:
    """What goes into a pull request: the answer, then each solver that changed, then every finding, folded."""
    verdict = "Regression" if comparison.regressed else "No regression"
    parts = [f"## {verdict}", comparison.summary() + ".", *(f"- {note}" for note in comparison.notes)]
    for name in VERDICTS[:3]:
        if found := comparison.of(name):
            parts += [f"### {name.capitalize()}s", table(HEADINGS, [line(f, more) for f, more in grouped(found)])]
    lines = [[f.verdict, *line(f, 0)] for f in comparison.findings]
    room = COMMENT - len("\n\n".join(parts))
    shown = sum(length < room for length in accumulate(sum(map(len, told)) + 3 * len(told) + 2 for told in lines))
    if shown:
        title = "Every finding" if shown == len(lines) else f"The first {shown} of {len(lines)} findings"
        every = table(("verdict", *HEADINGS), lines[:shown])
        parts.append(f"<details><summary>{title}</summary>\n\n{every}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def grouped(findings: Sequence[Finding]) -> list[tuple[Finding, int]]:
    """The first finding of each level and solver, and how many more there are."""
    groups = [list(group) for _, group in groupby(findings, key=lambda f: (f.level, f.solver))]
    return [(group[0], len(group) - 1) for group in groups]


def line(finding: Finding, more: int) -> list[str]:
    """A finding in the columns of a table."""
    f, others = finding, f" (and {more} more)" if more else ""
    budget = "" if isnan(f.budget) else count(f.budget)
    numbers = ["" if value is None else f"{value:.4g}" for value in (f.base, f.new)]
    return [f.level, f.solver, f.model, f"{f.kind} {f.measure}", budget, *numbers, f.why + others]


def to_json(comparison: Comparison) -> str:
    """Everything, for a program to read."""

    def plain(finding: Finding) -> dict[str, object]:
        return {k: None if isinstance(v, float) and isnan(v) else v for k, v in asdict(finding).items()}

    body = asdict(comparison) | {"findings": [plain(f) for f in comparison.findings]}
    return json.dumps(body | {"regressed": comparison.regressed}, indent=1) + "\n"

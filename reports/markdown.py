"""The report as Markdown, with the figures as files beside it."""

from collections.abc import Sequence

from . import literature, tables
from .captions import suspicion
from .page import Report, bibliography, link, more_tables, principal, provenance
from .verdicts import Verdict
from .wording import count, with_interval

RULE = (
    "The best entry of each model, measure and budget, and who ties with it: the interval of the difference, "
    "corrected for the number of comparisons at that budget, contains 0 (of two medians: that of their ratio, 1). "
    "Intervals are 95 %."
)


def markdown(report: Report) -> str:
    """The whole text."""
    results = report.results
    suites = [str(suite["name"]) for suite in results.suites]
    parts = [f"# Diffusion samplers compared: {', '.join(suites)}"]
    parts.append(" · ".join(f"{key}: {value}" for key, value in provenance(results).items()))
    if results.missing:
        parts.append(f"Incomplete: {results.missing} cells of the suites are not in the store yet.")
    parts += ["## The best at each budget", RULE]
    for model in report.models():
        parts += leaderboard(report, model)
    for v in principal(results, report.calls):
        if v.memorisation:
            parts.append(f"**{v.model}, {v.measure}, {count(v.budget)} calls:** {suspicion(v)}")
    for model in report.models():
        pictures = [p for p in report.pictures if p.model == model]
        parts += [f"## {model}"] if pictures else []
        parts += [f"![{p.alt}]({p.file})\n\n{p.caption}" for p in pictures]
    parts += troubles(report)
    if (found := literature.agreements(results))[1]:
        parts += ["## Beside the literature", literature.CAN, table(*found)]
    if papers := bibliography(results):
        lines = [f"- {p['authors']}. *{p['title']}*. {linked(p['link'])}: {', '.join(p['solvers'])}" for p in papers]
        parts += ["## References", "\n".join(lines)]
    runs = "\n".join(f"scorebench run {name} --store DIR" for name in suites)
    parts += ["## Reproduce", f"```sh\n{runs}\nscorebench report --store DIR --out OUT\n```"]
    return "\n\n".join(parts) + "\n"


def leaderboard(report: Report, model: str) -> list[str]:
    """The table of one model, those of time limits where it was timed, and what only some suites ask for."""
    budgets, board = report.leaderboard(model)
    if not board:
        return [f"### {model}", "No cell finished."]
    rows = zip(budgets, *(verdicts for _, verdicts in board), strict=True)
    body = [[f"{count(budget)} calls", *map(entry, verdicts)] for budget, *verdicts in rows]
    parts = [f"### {model}", table(["Budget", *(name for name, _ in board)], body)]
    for name, limits in report.clocks(model):
        parts.append(table(["Time", name], [[f"{v.budget:g} ms", entry(v)] for v in limits]))
    for name, title, headings, lines in more_tables(report.results):
        if name == model:
            parts += [f"{title}:", table(headings, lines)]
    return parts


def entry(verdict: Verdict | None) -> str:
    """One verdict in one table cell."""
    if verdict is None:
        return "–"
    if not verdict.best:
        return suspicion(verdict)
    value = with_interval(verdict.value, verdict.low, verdict.high)
    ties = f"; ties: {', '.join(verdict.ties)}" if verdict.ties else ""
    return f"**{verdict.best}** {value}, {count(verdict.nfe)} calls{ties}"


def troubles(report: Report) -> list[str]:
    """What was skipped or failed."""
    rows = tables.troubles(report.results)
    if rows.empty:
        return []
    columns = ["status", "model", "pass", "label", "budgets", "message"]
    body = rows[columns].astype(str).to_numpy().tolist()
    return ["## Failed and skipped", table([column.capitalize() for column in columns], body)]


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


def linked(reference: str) -> str:
    return f"[{reference}]({link(reference)})" if link(reference) else reference

"""The bibliography of the site, from the references that solvers declare."""

import re
from collections import defaultdict

from scorebench.solvers.facts import SOLVERS, Reference
from scorebench.solvers.registry import find

assert find("ddim")  # the registry is complete once imported


def address(link: str) -> str:
    """Where a link leads: arXiv identifiers and DOIs as web addresses, the rest as it stands."""
    if link.startswith("arXiv:"):
        return f"[{link}](https://arxiv.org/abs/{link.removeprefix('arXiv:')})"
    if link.startswith("doi:"):
        return f"[{link}](https://doi.org/{link.removeprefix('doi:')})"
    return f"<{link}>" if link.startswith("https:") else link


def year(work: tuple[str, str, str]) -> tuple[str, str]:
    """What works are sorted by: the year that ends the authors, then the authors."""
    found = re.search(r"\d{4}$", work[0])
    return (found.group() if found else "", work[0])


def works() -> dict[tuple[str, str, str], list[tuple[str, str]]]:
    """(authors and year, title, link) of each work, with the solvers that cite it and where in it."""
    cited: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for id, info in sorted(SOLVERS.items()):
        r: Reference = info.reference
        cited[r.authors, r.title, r.link].append((id, r.where))
    return dict(sorted(cited.items(), key=lambda item: year(item[0])))


def bibliography() -> str:
    """Markdown, one work a line, by year."""
    lines = []
    for (authors, title, link), solvers in works().items():
        methods = "; ".join(f"`{id}`" + (f" ({where})" if where else "") for id, where in solvers)
        lines.append(f"{authors}. *{title}*. {address(link)}\n: {methods}\n")
    return "\n".join(lines)

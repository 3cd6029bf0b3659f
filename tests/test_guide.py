"""The guide's structure, its bibliography, glossary and citation; `make docs` executes the pages themselves."""

import ast
import importlib.util
import inspect
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from scorebench.bench.certificates import orders
from scorebench.reference_models import mixture, network, parameterisation, process
from scorebench.solvers import facts, likelihood, problem

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted((DOCS / "guide").glob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
Cell = tuple[str, str]  # kind and text


def cells(page: Path) -> list[Cell]:
    """The cells of a page in jupytext's percent format: markdown without its comment signs, or code."""
    _, *parts = re.split(r"^# %%", page.read_text(), flags=re.MULTILINE)
    found = []
    for part in parts:
        head, _, body = part.partition("\n")
        kind = "markdown" if "[markdown]" in head else "code"
        plain = body if kind == "code" else re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        found.append((kind, plain.strip()))
    return found


def python(page: Path) -> str:
    return "\n".join(text for kind, text in cells(page) if kind == "code")


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_a_page_opens_as_a_notebook_under_its_title(page: Path) -> None:
    text = page.read_text()
    assert text.startswith("# ---\n# jupyter:\n#   jupytext:\n") and "#     name: python3\n# ---\n" in text
    kind, title = cells(page)[0]
    assert kind == "markdown" and title.startswith("# ")


def test_a_page_ends_in_a_picture_with_a_conclusion_and_in_checks(page: Path) -> None:
    *_, (head_kind, head), (kind, picture), (text_kind, caption), (last_kind, checks) = cells(page)
    assert (head_kind, kind, text_kind, last_kind) == ("markdown", "code", "markdown", "code")
    assert head.endswith("## The picture") and ("plt.show()" in picture or picture.startswith("Image("))
    assert caption.startswith("*") and caption.endswith("## Checks")
    assert len(re.findall(r"^ *assert ", checks, re.MULTILINE)) >= 5


def test_every_check_of_a_page_can_fail(page: Path) -> None:
    """An assertion that names nothing computed would hold whatever the page does."""
    checks = [node for node in ast.walk(ast.parse(python(page))) if isinstance(node, ast.Assert)]
    computed = [{name.id for name in ast.walk(check.test) if isinstance(name, ast.Name)} for check in checks]
    assert all(names - {"abs", "min", "max", "all", "np", "len"} for names in computed)


def test_a_page_draws_no_unseeded_numbers(page: Path) -> None:
    draws = re.findall(r"torch\.randn?\([^\n]*|np\.random[^\n]*", python(page))
    assert [draw for draw in draws if "generator=" not in draw] == []


def test_every_page_is_in_the_guides_list() -> None:
    text = (DOCS / "guide/index.md").read_text()
    listed = text.split("```{toctree}")[1].split()
    for page in PAGES:
        assert page.stem in listed and f"]({page.name})" in text and f"notebooks/{page.stem}.ipynb>`" in text


@pytest.fixture(scope="module")
def bibliography() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guide_bibliography", DOCS / "bibliography.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bibliography_has_every_solver_and_every_work_once(bibliography: ModuleType) -> None:
    works, text = bibliography.works(), bibliography.bibliography()
    cited = [id for solvers in works.values() for id, _ in solvers]
    assert sorted(cited) == sorted(facts.SOLVERS)
    assert text.count("\n: ") == len(works) and all(f"`{id}`" in text for id in cited)
    years = [bibliography.year(work)[0] for work in works]
    assert years == sorted(years) and all(years)


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("arXiv:2010.02502", "[arXiv:2010.02502](https://arxiv.org/abs/2010.02502)"),
        ("doi:10.1007/BF01446807", "[doi:10.1007/BF01446807](https://doi.org/10.1007/BF01446807)"),
        ("Z. Math. Phys. 46, 435", "Z. Math. Phys. 46, 435"),
        ("https://example.com/a", "<https://example.com/a>"),
    ],
)
def test_references_become_links(bibliography: ModuleType, link: str, shown: str) -> None:
    assert bibliography.address(link) == shown


@pytest.fixture
def glossary() -> list[list[str]]:
    """Its rows: symbol, name in code, meaning, shape, unit, paper."""
    lines = (DOCS / "glossary.md").read_text().splitlines()
    return [line.strip("| ").split(" | ") for line in lines if re.match(r"\| (?!symbol)", line)]


def test_every_paper_of_the_glossary_is_in_the_bibliography(
    glossary: list[list[str]], bibliography: ModuleType
) -> None:
    listed = (DOCS / "bibliography.md").read_text() + bibliography.bibliography()
    for *_, paper in glossary:
        name = re.sub(r"\[(.*)\]\(.*\)", r"\1", paper)
        assert name == "–" or f"{name}. *" in listed, name


def test_the_glossary_names_what_the_code_has(glossary: list[list[str]]) -> None:
    modules = (process, mixture, parameterisation, network, problem, facts, likelihood, orders)
    known = {name: value for module in modules for name, value in vars(module).items()}
    assert len(glossary) > 15 and {len(row) for row in glossary} == {6}
    for name in re.findall(r"`([A-Za-z_0-9.]+)`", " ".join(row[1] for row in glossary)):
        first, _, attribute = name.partition(".")
        if attribute:
            owner = known[first]
            named = {*owner.__annotations__, *inspect.signature(owner).parameters}
            assert hasattr(owner, attribute) or attribute in named, name
        else:
            assert first in known or first in ("x", "t", "grid"), name


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and citation["authors"] and citation["title"] and citation["message"]
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_what_the_site_needs_is_pinned() -> None:
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    wanted = {re.split(r"[^A-Za-z0-9._-]", each)[0].lower() for each in PROJECT["optional-dependencies"]["docs"]}
    assert wanted - pinned == set()

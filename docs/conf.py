"""The site, built by `make docs`: pages of the guide are Python scripts that run as they are built; nothing needs a network."""

import csv
import hashlib
import os
import pkgutil
import re
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jupytext
import ziamath
from docutils import nodes
from math_core import LatexError, LatexToMathML
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.util import logging

HERE = Path(__file__).parent
PAGES = sorted((HERE / "guide").glob("*.py"))
sys.path.insert(0, str(HERE))
from bibliography import bibliography  # noqa: E402

log = logging.getLogger(__name__)

project, author, release = "scorebench", "the scorebench authors", metadata.version("scorebench")
project_copyright = author
extensions = ["sphinx.ext.autodoc", "myst_nb"]
exclude_patterns = ["conf.py", "bibliography.py", "example_*.py"]
default_role = "code"  # docstrings name things in single backticks
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!scorebench\.).*|.*\.(T|_\w+)")
]  # types of others and private ones: shown, not linked
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
autodoc_typehints = "signature"

html_theme, html_title = "furo", "scorebench"
FONT = Path(ziamath.__file__).parent / "fonts/STIXTwoMath-Regular.ttf"
html_static_path, html_css_files = ["static", str(FONT)], ["site.css"]
html_show_sphinx = html_copy_source = False
html_math_renderer = "mathml"

nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "cache"  # a page runs again when its code cells have changed; `make guide` forces every one
nb_execution_cache_path = os.environ.get("GUIDE_CACHE", str(HERE.parent / "build/guide-cache"))
EXECUTED = (
    HERE.parent / "results/guide.csv"
)  # what `make guide` ran last: each page, the digest of its code, its seconds
nb_execution_timeout = 270  # seconds a cell; a whole page takes at most 90 on two quiet cores
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True


def digest(page: Path) -> str:
    """Of the code of a page, which is what runs."""
    code = [cell.source for cell in jupytext.read(page).cells if cell.cell_type == "code"]
    return hashlib.sha256("\n".join(code).encode()).hexdigest()[:16]


def as_executed() -> list[str]:
    """The pages whose code is that which ran last."""
    with EXECUTED.open(newline="", encoding="utf-8") as file:
        return [
            row["page"] for row in csv.DictReader(file) if digest(HERE / f"guide/{row['page']}.py") == row["digest"]
        ]


if os.environ.get("GUIDE") == "changed":  # the site without the outputs of pages that ran as they stand
    nb_execution_excludepatterns = [f"guide/{page}.py" for page in as_executed()]

# What the kernels of the pages see: this environment's commands first, one thread.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", COLUMNS="100", NO_COLOR="1")
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm would like widgets

LATEX = LatexToMathML(fancy_error=False)


def mathml(display: bool) -> Callable[[Any, Any], None]:
    """A visitor that turns a formula into MathML, which browsers draw without a script; an unknown command is a warning."""

    def visit(self: Any, node: Any) -> None:
        try:
            self.body.append(LATEX.convert_with_local_state(node.astext(), displaystyle=display))
        except LatexError as error:
            log.warning("formula %r: %s", node.astext(), error, location=node)
        raise nodes.SkipNode

    return visit


def modules(package: str) -> str:
    """The reference of every module of a package, from its docstrings."""
    root = import_module(f"scorebench.{package}")
    found = [m.name for m in pkgutil.walk_packages(root.__path__, f"scorebench.{package}.") if not m.ispkg]
    if find_spec("triton") is None:  # a gigabyte, for one module
        found = [name for name in found if name != "scorebench.solvers.device_update"]
    return "\n".join(f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n" for name in sorted(found))


def generated(app: Sphinx, docname: str, source: list[str]) -> None:
    """Appends what is generated to the pages that are."""
    if docname == "bibliography":
        source[0] += bibliography()
    if docname.startswith("api/") and docname != "api/index":
        source[0] += modules(docname.removeprefix("api/"))


def plain(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text: paragraphs in columns stay as they stand, asterisks and bars mean nothing outside backticks."""
    out: list[str] = []
    if lines and lines[0].startswith("Alias for field number"):  # what Python says of a named tuple's fields
        lines.clear()
    for paragraph in "\n".join(lines).split("\n\n"):
        if re.search(r"^ |\S {2,}\S", paragraph, re.MULTILINE):
            out += ["::", "", *(f"   {row}" for row in paragraph.split("\n")), ""]
        else:
            parts = paragraph.split("`")
            parts[::2] = [re.sub(r"([*|\\]|_(?=\W))", r"\\\1", part) for part in parts[::2]]
            out += ["`".join(parts), ""]
    lines[:] = "\n".join(out).split("\n")


def notebooks() -> None:
    """The pages as notebooks, for readers without jupytext."""
    folder = HERE.parent / "build/notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        jupytext.write(jupytext.read(page), folder / f"{page.stem}.ipynb")


REMOTE = re.compile(
    r"<(?:script|img|link|iframe|source)[^>]*?(?:src|href)=[\"'](?:https?:)?//[^\"']*|@import\s+url\(.?http"
)


def loads_nothing(app: Sphinx, error: Exception | None) -> None:
    """A page that would load something from elsewhere to be shown is a warning, so an error."""
    for page in sorted(Path(app.outdir).rglob("*.html")) if error is None else []:
        for found in REMOTE.findall(page.read_text(encoding="utf-8")):
            log.warning("%s loads from elsewhere: %s", page.relative_to(app.outdir), found)


def recorded(app: Sphinx, error: Exception | None) -> None:
    """After every page ran, what ran and for how long."""
    if error is not None or app.config.nb_execution_mode != "force" or os.environ.get("GUIDE") == "changed":
        return
    ran = {page.stem: NbMetadataCollector.get_exec_data(app.env, f"guide/{page.stem}") for page in PAGES}
    with EXECUTED.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["page", "digest", "seconds"])
        for page in PAGES:
            table.writerow([page.stem, digest(page), f"{ran[page.stem]['runtime']:.0f}"])


def setup(app: Sphinx) -> None:
    notebooks()
    app.add_html_math_renderer("mathml", (mathml(False), None), (mathml(True), None))
    app.connect("source-read", generated)
    app.connect("autodoc-process-docstring", plain)
    app.connect("build-finished", loads_nothing)
    app.connect("build-finished", recorded)

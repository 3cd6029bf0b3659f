"""The list of solvers, complete once imported: every module of `methods/`, installed plug-ins, files of the user's."""

import importlib
import importlib.util
import pkgutil
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from scorebench.reference_models.errors import UsageError, unknown

from . import methods
from .facts import ALIASES, SOLVERS, SolverInfo, normal

for _module in pkgutil.iter_modules(methods.__path__):
    importlib.import_module(f"{methods.__name__}.{_module.name}")


def find(name: str) -> SolverInfo:
    """The solver of that id or alias; UsageError with the nearest names otherwise."""
    key = normal(name)
    if key not in ALIASES:
        raise unknown("solver", name, SOLVERS)
    return SOLVERS[ALIASES[key]]


def check_options(info: SolverInfo, options: dict[str, Any]) -> dict[str, Any]:
    """The options, each known and of its default's type; UsageError names the option that is not."""
    for name, value in options.items():
        if name not in info.options:
            if not info.options:
                raise UsageError(f"solver {info.id} takes no options, got {name!r}")
            raise unknown(f"option of solver {info.id}", name, info.options)
        default = info.options[name]
        number = isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool)
        if not number and type(value) is not type(default):
            raise UsageError(f"solver {info.id}: option {name} is a {type(default).__name__}, got {value!r}")
    return options


def load_plugin(path: str) -> None:
    """Run a Python file whose decorators register solvers; UsageError when it is missing or registers none."""
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"plugin {path!r}: no such file")
    before = set(SOLVERS)
    spec = importlib.util.spec_from_file_location(f"scorebench_plugin_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that its functions know where they were defined
    try:
        spec.loader.exec_module(module)
    except ValueError as error:
        raise UsageError(f"plugin {path!r}: {error}") from None
    if set(SOLVERS) == before:
        raise UsageError(f"plugin {path!r} registers no solver; decorate a generator function with @solver(...)")


def load_entry_points() -> None:
    """Import what installed packages offer under the entry point group `scorebench.solvers`."""
    for entry in entry_points(group="scorebench.solvers"):
        entry.load()

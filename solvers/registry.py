"""The list of solvers, complete once imported: every module of `methods/`, installed plug-ins, files of the user's."""

import importlib
import importlib.util
import pkgutil
import sys
from importlib.metadata import entry_points
from pathlib import Path

from scorebench.reference_models.errors import UsageError

from . import methods
from .facts import SOLVERS, SolverInfo

for _module in pkgutil.iter_modules(methods.__path__):
    importlib.import_module(f"{methods.__name__}.{_module.name}")


def find(name: str) -> SolverInfo:
    """The solver of that id or alias, whatever grid and options the name says beside; UsageError with the nearest otherwise."""
    from .aliases import resolve  # which needs the list complete

    return resolve(name).info


def load_plugin(path: str) -> None:
    """Run a Python file whose decorators register solvers; UsageError when it is missing, breaks or registers none."""
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"plugin {path!r}: no such file")
    before = set(SOLVERS)
    spec = importlib.util.spec_from_file_location(f"scorebench_plugin_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UsageError(f"plugin {path!r} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that its functions know where they were defined
    try:
        spec.loader.exec_module(module)
    except ValueError as error:
        raise UsageError(f"plugin {path!r}: {error}") from None
    except Exception as error:
        raise UsageError(f"plugin {path!r}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    if set(SOLVERS) == before:
        raise UsageError(f"plugin {path!r} registers no solver; decorate a generator function with @solver(...)")


def load_entry_points() -> None:
    """Import what installed packages offer under the entry point group `scorebench.solvers`."""
    for entry in entry_points(group="scorebench.solvers"):
        entry.load()

"""Fingerprints follow the code that determines a result, and nothing else."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from scorebench.bench import fingerprint as module
from scorebench.bench.fingerprint import fingerprint, fingerprint_of

CODE = (
    '"""Docstring."""\nimport scorebench.solvers.update\n\n\ndef f(x):\n    """Doc."""\n    return x + 1  # comment\n'
)


def load(path: Path, code: str) -> ModuleType:
    path.write_text(code)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def test_only_code_counts(tmp_path: Path) -> None:
    def of(code: str) -> str:
        return fingerprint_of(load(tmp_path / "scorebench_test_plugin.py", code).f)

    original = of(CODE)
    assert of(CODE.replace("# comment", "").replace("Doc.", "Other.").replace("\n\n\n", "\n\n\n\n")) == original
    assert of(CODE.replace("x + 1", "x + 2")) != original
    assert of(CODE.replace("update", "grids")) != original


def test_imports_are_followed_through_the_package() -> None:
    _, imports = module._source("scorebench.solvers.methods.ddim")
    assert {"scorebench.solvers.facts", "scorebench.solvers.problem", "scorebench.solvers.update"} <= imports
    assert fingerprint("scorebench.solvers.methods.ddim") != fingerprint("scorebench.solvers.methods.exp_ab")


def test_one_solver_does_not_depend_on_another() -> None:
    """The registry imports every method; a method's fingerprint must not hold them all."""
    found: set[str] = set()
    waiting = ["scorebench.solvers.methods.ddim", "scorebench.solvers.drive"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += module._source(name)[1]
    assert "scorebench.solvers.methods.exp_ab" not in found
    assert "scorebench.reference_models.mixture" not in found
    assert "scorebench.solvers.noise" in found

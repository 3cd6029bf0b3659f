"""What a command must not import before it needs it: modules are counted, not seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scorebench.cli.listing import cache_folder, read_registry, solver_rows, sources_digest

SCRIPT = """
import pkgutil, sys
import scorebench.cli
loaded = lambda *names: sorted(set(names) & set(sys.modules))
assert not loaded("torch", "numpy", "pandas", "pydantic", "jinja2"), loaded("torch", "numpy", "pandas", "pydantic", "jinja2")
sys.argv = ["scorebench", "solvers"]
try:
    scorebench.cli.main()
except SystemExit as end:
    assert not end.code
assert not loaded("torch", "numpy"), "the kept list needs neither"
import scorebench.solvers
for module in pkgutil.walk_packages(scorebench.solvers.__path__, "scorebench.solvers."):
    if not module.name.endswith("device_update"):  # needs triton, and is imported where there is a GPU
        __import__(module.name)
heavy = loaded("diffusers", "torchvision", "torch_fidelity", "scipy", "sklearn", "pandas", "ot")
assert not heavy, heavy
"""


def test_nothing_heavy_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    folder = tmp_path / "scorebench"
    folder.mkdir()
    rows = '[["kept-solver", "ode", "2", "2", "n", "logsnr", "Somebody 2020"]]'
    (folder / f"solvers-{sources_digest()}.json").write_text(rows)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "kept-solver" in run.stdout


def test_the_list_is_read_once_and_then_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("scorebench.cli.listing.own_only", lambda: True)
    cache_folder().mkdir()
    (cache_folder() / "solvers-older.json").write_text("[]")
    first = solver_rows([])
    assert [path.name for path in cache_folder().iterdir()] == [f"solvers-{sources_digest()}.json"]
    assert solver_rows([]) == first == read_registry([])


def test_a_broken_list_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache_folder().mkdir()
    (cache_folder() / f"solvers-{sources_digest()}.json").write_text("[[")
    assert solver_rows([]) == read_registry([])

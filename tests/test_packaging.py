"""What a fresh clone relies on: the import link, the pins, one direction of imports, running examples."""

import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOSTS = [f"{name}.org" for name in ("pypi", "pythonhosted", "download.pytorch", "anaconda")]


def files() -> list[Path]:
    """Every file that git tracks or would; skips outside a checkout."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_import_link_points_at_the_root() -> None:
    link = ROOT / ".import" / "scorebench"
    assert link.is_symlink()
    assert link.readlink() == Path("..")


def test_no_package_file_where_it_would_shadow_the_layout() -> None:
    assert not (ROOT / "__init__.py").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_torch_is_pinned_and_every_constraint_is_exact() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert "torch==2.13.0" in pins
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", pin)] == []


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    wanted += [*project["optional-dependencies"]["ray"], *project["optional-dependencies"]["peers"]]
    names = {canonical(re.split(r"[^A-Za-z0-9._-]", requirement)[0]) for requirement in wanted} - {"scorebench"}
    pinned = {canonical(line.split("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names - pinned == set()


def test_no_file_names_a_package_index() -> None:
    found = []
    for path in files():
        content = path.read_bytes()
        found += [f"{path.relative_to(ROOT)}: {host}" for host in HOSTS if host.encode() in content]
    assert found == []


def test_imports_go_one_way() -> None:
    command = [Path(sysconfig.get_path("scripts")) / "lint-imports", "--no-cache", "--no-logo"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_examples_of_contributing_run(tmp_path: Path) -> None:
    """The files that CONTRIBUTING.md shows, written out and run together in a process of their own."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    examples = dict(re.findall(r"^`([a-z_]+\.py)`:\n\n```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert sorted(examples) == ["ralston.py", "two_points.py"]
    for name, code in examples.items():
        (tmp_path / name).write_text(code)
    check = """
from scorebench.reference_models.addresses import check_model, load_model
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find, load_plugin
import torch

load_plugin("ralston.py")
model, info = load_model("python:two_points.py:two_points"), find("ralston")
check_model(model)
grid = make_grid(info.grid, model.process, 20, model.process.t_max, model.process.t_min)
solution = solve(model, info, grid, Noise(0, torch.arange(64), model.shape).latents())
assert solution.count.evaluations.tolist() == [40] * 64, solution.count
assert (solution.x.abs() - 1).abs().median() < 0.02, solution.x
"""
    ran = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr

"""The command line: what it lists, and one line with exit code 2 for bad input."""

import sys
from pathlib import Path

import pytest

from scorebench import cli

PLUGIN = '''
from scorebench.solvers.facts import Reference, solver
from scorebench.solvers.update import combine


@solver("half-euler", order=None, reference=Reference("Nobody", "Nothing", "none"))
def half_euler(problem, x, grid):
    """Half of what Euler's method does."""
    for now, then in zip(grid.tolist(), grid.tolist()[1:]):
        x = combine((1.0, x), (0.5 * (then - now), problem.velocity(x, now)))
        yield then, x
'''


def scorebench(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["scorebench", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
        raise SystemExit(0)
    return int(stopped.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quik"], "did you mean quick"),
        (["run", "quick", "--solver", "hoin"], "unknown solver 'hoin': did you mean midpoint or heun"),
        (["run", "quick", "--model", "digits-pv"], "unknown model 'digits-pv': did you mean digits-vp"),
        (["run", "quick", "--model", "exact:gmm?process=vee"], "unknown process 'vee'"),
        (["run", "quick", "--model", "exact:gmm", "--solver", "heun", "--budget", "1"], "heun needs 2 network calls"),
        (["run", "quick", "--grid", "karas"], "unknown grid 'karas': did you mean karras"),
        (["run", "quick", "--budget", "many"], "--budget"),
        (["ruun"], "ruun"),
        (["run", "quick", "--plugin", "nowhere.py"], "no such file"),
        (["solvers", "dpmpp_2"], "dpmpp-2m"),
        (["models", "exact:gmmm"], "did you mean exact:gmm"),
        (["models", "--sheet", "x.png"], "name it, as in"),
        (["models", "digits-vp?label=3"], "it has no classes"),
        (["models", "digits-vp?proces=ve"], "did you mean process"),
        (["models", "digits-ve?process=vp"], "set its t_min, t_max or sigma_max"),
        (["certify"], "certify what?"),
        (["certify", "hein"], "did you mean heun"),
        (["certify", "diffusers:DDIMSchedular"], "did you mean DDIMScheduler"),
        (["card", "digits-pv"], "did you mean digits-vp"),
        (["train", "digits-pv"], "did you mean digits-vp"),
        (["reference", "digits-pv"], "did you mean digits-vp"),
        (["report", "--store", "nowhere"], "scorebench run quick --store nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert scorebench(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1
    assert not list(tmp_path.iterdir())  # nothing was written


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine.md", "", "is no Python file: its name must end in .py"),
        ("mine.py", "def f(:", "SyntaxError: invalid syntax (mine.py, line 1)"),
        ("mine.py", "import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("mine.py", "x = 1", "registers no solver"),
    ],
)
def test_a_plugin_that_breaks_is_told_in_one_line(
    name: str,
    text: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    plugin = tmp_path / name
    plugin.write_text(text)
    assert scorebench(monkeypatch, "certify", "--plugin", plugin) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_a_store_that_is_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    arguments = ["run", "quick", "--model", "exact:gmm", "--solver", "ddim", "--budget", "5", "--store", file]
    assert scorebench(monkeypatch, *arguments) == 2
    assert "not a writable folder" in capsys.readouterr().err and file.read_text() == "kept"


def test_weights_with_another_digest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import shutil

    from scorebench.reference_models import addresses, network

    shutil.copytree(network.WEIGHTS, tmp_path / "weights")
    weights = tmp_path / "weights" / "digits-vp" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(addresses, "WEIGHTS", tmp_path / "weights")
    assert scorebench(monkeypatch, "models", "digits-vp") == 2
    assert "sha256" in capsys.readouterr().err


def test_a_plugin_is_run_like_any_solver(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from scorebench.solvers.facts import ALIASES, SOLVERS

    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN)
    arguments = ["run", "quick", "--model", "exact:gmm", "--solver", "half-euler", "--budget", "5", "--plugin", plugin]
    try:
        assert scorebench(monkeypatch, *arguments, "--store", tmp_path / "store") == 0
    finally:
        SOLVERS.pop("half-euler", None)
        ALIASES.pop("halfeuler", None)
    assert "2 cells" in capsys.readouterr().out  # a sample and a likelihood


MODEL = """
import torch
from scorebench.reference_models.process import make_process


class Ones:
    name, data, shape, process = "ones", None, (1, 4, 4), make_process("ve")

    def denoise(self, x, t):
        return torch.tanh(x)


def ones():
    return Ones()
"""


def test_a_model_of_the_users_runs_and_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without data there is no FID and no likelihood, but there are errors, times and pictures."""
    file = tmp_path / "ones.py"
    file.write_text(MODEL)
    chosen = ["--model", f"python:{file}:ones", "--solver", "exp-ab2", "--budget", "5", "--store", tmp_path / "store"]
    assert scorebench(monkeypatch, "run", "quick", *chosen) == 0
    assert "2 cells" in (printed := capsys.readouterr().out) and "0 failed" in printed  # a sample and a time
    assert scorebench(monkeypatch, "report", "--store", tmp_path / "store") == 0
    assert (tmp_path / "store" / "report" / "report.html").exists()


def test_lists(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (
        (["solvers"], "dpmpp-2m"),
        (["solvers", "DPMSolverMultistepScheduler"], "arXiv:2211.01095"),
        (["models"], "digits-ve"),
        (["suites"], "quick"),
        (["suites", "attribution"], "digits-vp (256 samples)"),
        (["doctor"], "torch-fidelity"),
    ):
        assert scorebench(monkeypatch, *arguments) == 0
        assert expected in capsys.readouterr().out


def test_the_example_solver_is_certified_as_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from scorebench.solvers.facts import ALIASES, SOLVERS

    try:
        arguments = [
            "certify",
            "--plugin",
            "docs/example_solver.py",
            "--out",
            tmp_path,
            "--table",
            tmp_path / "table.csv",
        ]
        assert scorebench(monkeypatch, *arguments) == 0
    finally:
        SOLVERS.pop("my-euler", None)
        ALIASES.pop("myeuler", None)
    assert "holds" in (printed := capsys.readouterr().out) and "euler-t" in printed
    assert (tmp_path / "my-euler.html").stat().st_size > 1000 and (tmp_path / "table.csv").exists()


def test_a_failed_claim_is_exit_code_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from scorebench.solvers.facts import ALIASES, SOLVERS

    plugin = tmp_path / "wrong.py"
    plugin.write_text(
        Path("docs/example_solver.py").read_text().replace("my-euler", "my-heun").replace("order=1", "order=2")
    )
    try:
        assert scorebench(monkeypatch, "certify", "--plugin", plugin, "--out", tmp_path / "out") == 1
    finally:
        SOLVERS.pop("my-heun", None)
        ALIASES.pop("myheun", None)


def test_a_model_shows_its_card_and_draws_its_sheet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for address, expected in (("digits-vp", "held-out loss"), ("exact:gmm", "exact"), ("digits-vp?process=edm", "edm")):
        sheet = tmp_path / "sheet.png"
        assert scorebench(monkeypatch, "models", address, "--sheet", sheet) == 0
        assert expected in capsys.readouterr().out and sheet.stat().st_size > 1000
        sheet.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("tanh(x)", "tanh(x)[:, :, :2]"), "expected the same"),
        (("tanh(x)", "tanhh(x)"), "denoise fails on two samples"),
    ],
)
def test_a_broken_model_of_the_users_is_one_line(
    change: tuple[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    file = tmp_path / "ones.py"
    file.write_text(MODEL.replace(*change))
    assert scorebench(monkeypatch, "run", "quick", "--model", f"python:{file}:ones", "--store", tmp_path / "store") == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1 and not (tmp_path / "store").exists()

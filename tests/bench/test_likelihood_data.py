"""Bits per dimension against sums done by hand, data of every kind, and the command that streams them."""

import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scorebench.bench.likelihood_data import bound, dequantise, levels_of, offset
from scorebench.cli import main
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.digits import load

DOUBLE = torch.float64


def test_offsets_are_those_of_the_literature() -> None:
    assert offset(256) == 7.0  # the "7 bits"
    assert offset(17) == math.log2(8.5)
    assert offset(None) == 0.0
    models = ("digits-vp", "exact:ppca-fashion", "exact:gmm")
    assert [levels_of(load_model(address)) for address in models] == [17, 256, None]


def test_the_bound_falls_with_its_draws_to_the_probability_of_the_level() -> None:
    """p(y) linear on [−1, 1), two levels: P is known, E log p is too, and K draws come between, in order."""
    model = load_model("exact:gmm")  # two dimensions; only its shape counts
    n = 4000
    level = torch.ones(n, 2, dtype=torch.int64)
    u = [dequantise(level, 2, 0, torch.arange(n), draw) for draw in range(16)]
    log_p = torch.stack([torch.log((1 + y) / 2).sum(1) for y in u])  # y = u in [0, 1)
    one, four, many = (float(bound(log_p[:k], model, 2).mean()) for k in (1, 4, 16))
    exact = -math.log2(0.75)
    jensen = -(2 * math.log(2) - 1 - math.log(2)) / math.log(2)  # −∫ log₂((1 + y)/2) dy over [0, 1)
    assert one == pytest.approx(jensen, abs=3.29 * float(bound(log_p[:1], model, 2).std()) / math.sqrt(n))
    assert exact < many < four < one and many - exact < (one - exact) / 10


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["scorebench", "likelihood", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def rows_in(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_arrays_and_folders_of_the_same_images_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """npy, npz and PNG; cut in the middle of a line it continues, and the numbers are those of one run."""
    levels = load()[0][:5].numpy().astype(np.uint8)
    np.save(tmp_path / "a.npy", levels)
    np.savez(tmp_path / "b.npz", levels[:, 0])
    (tmp_path / "folder").mkdir()
    for row, image in enumerate(levels):
        Image.fromarray(image[0]).save(tmp_path / "folder" / f"{row}.png")
    found = []
    for name in ("a.npy", "b.npz", "folder"):
        out = tmp_path / f"{name}.jsonl"
        flags = (
            "digits-vp",
            "--data",
            tmp_path / name,
            "--nfe",
            8,
            "--trace",
            "rademacher",
            "--out",
            out,
            "--batch",
            2,
        )
        code, said, _ = run(monkeypatch, capsys, *flags)
        assert code == 0 and "5 images, 8.0 network evaluations and 8.0 Jacobian products each" in said
        found.append([row["bits_per_dim"] for row in rows_in(out)[1:]])
    assert found[0] == found[1] == found[2] and len(found[0]) == 5
    text = out.read_text()
    out.write_text(text[: len(text) * 2 // 3])
    kept = len(out.read_text().splitlines()) - 2
    assert run(monkeypatch, capsys, *flags)[0] == 0
    again = [row["bits_per_dim"] for row in rows_in(out)[1:]]
    assert 0 < kept < 5 and again == pytest.approx(found[2], rel=1e-5)
    header = rows_in(out)[0]
    assert (header["levels"], header["prior"], header["t_min"]) == (17, "N(0, 1² I)", 1e-5)
    code, _, error = run(monkeypatch, capsys, *flags[:-2], "--seed", 3)
    assert code == 2 and "made with another seed (0, not 3)" in error


def test_what_diverges_is_a_row_with_a_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "points.npy", np.array([[0.3, 0.4], [1e200, 0.0], [0.5, -0.2]]))
    out = tmp_path / "rows.jsonl"
    code, said, _ = run(monkeypatch, capsys, "exact:gmm", "--data", tmp_path / "points.npy", "--nfe", 12, "--out", out)
    good, lost, other = rows_in(out)[1:]
    assert code == 0 and "1 failed" in said
    assert lost["status"] == "failed" and "not finite" in str(lost["cause"]) and lost["bits_per_dim"] is None
    assert good["status"] == other["status"] == "ok"


CUT = """
import torch
from scorebench.reference_models.process import make_process
class Cut:
    name, data, process, shape = "cut", None, make_process("vp"), (2,)
    def denoise(self, x, t):
        return torch.tanh(x.detach())
def cut():
    return Cut()
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits-vp", "--data", "loud.npy"], r"image 0 holds 200, expected whole levels in \[0, 16\]"),
        (["exact:ppca-fashion", "--data", "negative.npy"], r"holds -1, expected whole levels in \[0, 255\]"),
        (["exact:ppca-fashion", "--data", "half.npy"], "holds 0.5, expected whole levels"),
        (["digits-vp", "--data", "shape.npy"], r"array of shape \(3, 5\), model 'digits-vp' takes \(n, 1, 8, 8\)"),
        (["digits-vp", "--data", "none.npy"], "no such file"),
        (["digits-vp", "--data", "text.npy"], "not an array that numpy reads"),
        (["digits-vp", "--solver", "euler-maruyama"], "needs a deterministic solver, got euler-maruyama"),
        (["digits-vp", "--solver", "ddim?eta=0.5"], "needs a deterministic solver"),
        (["python:cut.py:cut", "--data", "points.npy"], "no differentiable path"),
        (["exact:gmm", "--nfe", "1"], "exp-ab3 needs 2 network calls for a likelihood, got --nfe 1"),
        (["exact:gmm", "--solver", "rk45", "--nfe", "9"], "rk45 is adaptive"),
        (["exact:gmm", "--trace", "rademacker"], "did you mean rademacher"),
        (["exact:gmm", "--probes", "4"], "--probes 4: trace closed takes none"),
        (["exact:gmm", "--draws", "2"], "--draws 2: 32 draws of exact:gmm are points, not levels"),
        (["digits-vp", "--levels", "256"], "--levels 256: held-out images of digits have their own"),
        (["exact:gmm", "--images", "2", "--data", "points.npy"], "--images 2: --data says"),
        (["exact:gmm", "--forward"], "--forward: a closed trace"),
        (["exact:gmm", "--draws", "0"], "--draws must be at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cut.py").write_text(CUT)
    Path("text.npy").write_text("hello")
    images = np.zeros((2, 1, 28, 28))
    for name, array in (
        ("loud", np.full((2, 8, 8), 200, np.uint8)),
        ("negative", images - 1),
        ("half", images + 0.5),
        ("shape", np.zeros((3, 5))),
        ("points", np.zeros((2, 2))),
    ):
        np.save(f"{name}.npy", array)
    code, _, error = run(monkeypatch, capsys, *arguments)
    assert code == 2 and error.count("\n") == 1
    assert re.search(message, error), error
    assert not Path("results").exists()

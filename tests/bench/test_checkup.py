"""doctor names what is amiss, what that affects and what mends it."""

import os
import shutil
from pathlib import Path

import pytest

from scorebench.bench import checkup
from scorebench.reference_models.network import WEIGHTS


def test_everything_is_looked_at_and_nothing_fails_here() -> None:
    found = {row.what: row for row in checkup.examine()}
    assert {"torch", "torchvision", "torch-fidelity", "diffusers", "threads", "clocks", "load", "ray"} <= set(found)
    assert {"weights digits-vp", "Fashion-MNIST", "Inception-v3", "peers", "commit"} <= set(found)
    assert not [row for row in found.values() if row.state == "fails"]
    for row in found.values():
        assert (row.state == "ok") == (not row.affects)


def test_weights_with_a_changed_byte(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS / "digits-vp", tmp_path / "digits-vp")
    (row,) = checkup.weights(tmp_path)
    assert row.state == "ok" and "as pinned" in row.found
    file = tmp_path / "digits-vp" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    (row,) = checkup.weights(tmp_path)
    assert row.state == "fails" and "expected" in row.found and "scorebench train digits-vp" in row.mend


@pytest.mark.parametrize(
    ("governors", "state", "mend"),
    [([], "note", ""), (["performance"] * 2, "ok", ""), (["performance", "powersave"], "note", "sudo cpupower")],
)
def test_governors(governors: list[str], state: str, mend: str, tmp_path: Path) -> None:
    for number, name in enumerate(governors):
        (tmp_path / f"cpu{number}" / "cpufreq").mkdir(parents=True)
        (tmp_path / f"cpu{number}" / "cpufreq" / "scaling_governor").write_text(f"{name}\n")
    row = checkup.governor(tmp_path)
    assert row.state == state and row.mend.startswith(mend)


def test_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for busy, state in ((0.1, "ok"), (3.0, "note")):
        monkeypatch.setattr(os, "getloadavg", lambda busy=busy: (busy, 0.0, 0.0))
        assert checkup.load().state == state


def test_an_inception_file_is_checked_before_it_is_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(checkup.INCEPTION, raising=False)
    assert checkup.inception().state == "note" and checkup.INCEPTION in checkup.inception().mend
    monkeypatch.setenv(checkup.INCEPTION, str(tmp_path / "weights.pth"))
    assert checkup.inception().state == "fails" and "no file" in checkup.inception().found
    (tmp_path / "weights.pth").write_bytes(b"something else")
    assert checkup.inception().state == "fails" and "not 6726825d" in checkup.inception().found

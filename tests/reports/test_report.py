"""The report as a whole: what is written, that it needs no network, and that bad input writes nothing."""

import base64
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scorebench.bench.rows import load_rows
from scorebench.bench.store import Store
from scorebench.reference_models.errors import UsageError
from scorebench.reports import scale
from scorebench.reports.report import write_report

FIGURES = [
    "error-nfe-digits-vp.png",
    "error-nfe-gmm-2d.png",
    "error-nfe-exact-gmm-process-ve.png",
    "fid-digits-cnn-nfe-digits-vp.png",
    "fid-identity-nfe-gmm-2d.png",
    "likelihood-nfe-digits-vp.png",
    "error-ms-digits-vp.png",
    "strip-digits-vp.png",
    "profiles-error-median.png",
    "timings.png",
    "history.png",
]


@pytest.fixture(scope="module")
def out(full_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "out"
    written = write_report(full_store, folder)
    assert sorted(written) == sorted(folder.iterdir())
    return folder


@pytest.fixture(scope="module")
def page(out):
    return (out / "report.html").read_text()


@pytest.mark.parametrize(
    "name", [*FIGURES, "report.html", "report.md", "rows.csv", "best.csv", "duels.csv", "summary.csv"]
)
def test_every_file_is_written(out, name):
    assert (out / name).stat().st_size > 200


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_embedded_with_words_for_who_cannot_see_them(out, page, name):
    png = (out / name).read_bytes()
    assert png.startswith(b"\x89PNG") and base64.b64encode(png).decode() in page
    assert len(re.findall(r'<img src="data:image/png;base64,[^"]+" alt="[^"]{20,}">', page)) == page.count("<img")


def test_two_dimensional_samples_make_no_strip(out):
    assert not (out / "strip-gmm-2d.png").exists()


def test_the_page_needs_no_network(page):
    assert not re.search(r"<script[^>]*src", page)
    page = re.sub(r"(?s)<script.*?</script>", "", page)  # what scripts ask for, a browser's test sees
    assert not re.search(r'(?:src|srcset|data|action)\s*=\s*["\']?(?:https?:)?//', page)
    assert not re.search(r"@import|url\(|<link|<iframe", page)
    assert re.findall(r"<(\w+)[^>]*https?://", page) == ["a"] * page.count("https://")


def test_the_page_is_small_and_complete(page):
    assert len(page) < 12e6
    assert "<h1>Diffusion samplers compared: quick</h1>" in page
    for text in ("0123abcd4567", "test machine, 2 cores", "torch 2.13.0", "2026-05-04", "64 samples each"):
        assert text in page
    assert "needs 6 network calls" in page and "diverged: not finite after step 2" in page
    assert "On ddim &lt;and more&gt;" in page  # what a plug-in declares is escaped
    assert 'href="https://arxiv.org/abs/2206.00364"' in page


def test_the_first_table_names_the_best_and_who_ties(page):
    board = page[page.index('class="board"') :]
    board = board[: board.index("</table>")]
    assert board.count("<strong>exp-ab2</strong>") >= 5
    assert "ties:" in board and "no tie" in board
    assert "exp-ab2: memorisation?" in board


def test_markdown_says_the_same(out):
    text = (out / "report.md").read_text()
    assert "**exp-ab2**" in text and "needs 6 network calls" in text and "memorisation?" in text
    for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (out / name).is_file()


def test_tables_hold_every_cell(out, full_store):
    rows, best, summary = (pd.read_csv(out / f"{name}.csv") for name in ("rows", "best", "summary"))
    cells = len(list((full_store / "cells").glob("*.json")))
    assert rows["cell"].nunique() == len(summary) == cells
    assert set(summary["status"]) == {"ok", "skipped", "failed"}
    assert {"error_median", "error_median low", "fid[digits-cnn]", "fid[digits-cnn] floor", "time_ms"} <= set(
        summary.columns
    )
    assert not best.duplicated(["model", "measure", "budget", "budget_unit", "field"]).any()


def test_reports_are_the_same_twice(full_store, out, tmp_path):
    write_report(full_store, tmp_path / "again")
    for name in ("best.csv", "report.md", "report.html"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    "pattern",
    ["cells/*.json", "cells/*.npz", "metrics/*.json", "suites/*.json", "models.json", "references/*.npz"],
)
def test_a_damaged_file_is_named_and_nothing_is_written(store, tmp_path, pattern):
    damaged = sorted(store.glob(pattern))[0]
    cut(damaged)
    with pytest.raises(UsageError, match=re.escape(damaged.name.removesuffix(".npz").removesuffix(".json"))) as error:
        write_report(store, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_store_names_the_command(tmp_path):
    with pytest.raises(UsageError, match="scorebench run quick"):
        write_report(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_empty_store_has_a_page_that_names_the_command(build, tmp_path):
    written = write_report(build().finish(), tmp_path / "out")
    assert [path.name for path in written] == ["report.html"]
    assert re.search(r"holds no cell.*scorebench run", written[0].read_text())


def test_a_store_of_failures_has_a_page_that_says_so(build, tmp_path):
    made = build()
    made.cell("m", "ddim", 10, status="failed", message="diverged: not finite after step 3")
    made.cell("m", "rk45", None, status="failed", message="out of memory", options={"rtol": 0.1})
    written = {path.name: path for path in write_report(made.finish(), tmp_path / "out")}
    page = written["report.html"].read_text()
    assert "No cell finished" in page and "out of memory" in page and 'id="across"' not in page
    assert {name for name in written if name.endswith(".png")} <= {"timings.png", "history.png"}  # of no store


def test_names_are_shown_and_never_executed_and_stay_in_the_folder(build, tmp_path):
    made, errors = build(), np.random.default_rng(0).lognormal(size=64)
    model, solver = "../../<img src=x onerror=alert(1)>", """</script><script>alert("x'")</script>"""
    for name in (solver, "ddim"):
        for budget in (10, 20):
            made.errors(model, name, budget, errors / budget)
        made.cell(model, name, 5, status="failed", message="<b>bold</b>")
    (tmp_path / "above").mkdir()
    written = write_report(made.finish(), tmp_path / "above" / "out", printed=True)
    assert all(path.resolve().is_relative_to(tmp_path / "above" / "out") for path in written)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["above", "store"]
    page = (tmp_path / "above" / "out" / "report.html").read_text()
    assert "<img src=x" not in page and "<script>alert" not in page and "<b>bold" not in page
    assert "&lt;img src=x onerror" in page and "&lt;b&gt;bold" in page


def test_figures_to_print_are_vectors_and_of_three_hundred_dots_an_inch(build, tmp_path):
    made, errors = build(), np.random.default_rng(0).lognormal(size=64)
    made.errors("m", "ddim", 10, errors)
    written = {
        path.name: path
        for path in write_report(made.finish(), tmp_path / "out", printed=True)
        if path.parent.name == "print"
    }
    assert set(written) == {
        f"{name}.{kind}" for name in ("error-nfe-m", "timings", "history") for kind in ("svg", "png")
    }
    assert b"<svg" in written["error-nfe-m.svg"].read_bytes()[:600]
    with Image.open(written["error-nfe-m.png"]) as image:
        assert image.size == (2700, 1620)


@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_an_output_that_cannot_be_written_is_refused(full_store, tmp_path, out):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match="cannot write the report"):
        write_report(full_store, tmp_path / out)
    assert (tmp_path / "taken").read_text() == "a file"


def test_missing_pieces_leave_a_report(build, tmp_path):
    """One budget, no time, no likelihood, no strip; a model that failed everywhere; a suite cut short."""
    made = build()
    errors = np.random.default_rng(0).lognormal(size=made.n)
    made.errors("alone", "ddim", 10, errors)
    made.cell("broken", "ddim", 10, status="failed", message="diverged: not finite after step 3")
    made.cell("broken", "rk45", None, status="failed", message="diverged", options={"rtol": 0.1})
    made.keys.append("0" * 24)
    out = tmp_path / "out"
    written = {path.name for path in write_report(made.finish(), out)}
    assert {name for name in written if name.endswith(".png")} == {"error-nfe-alone.png", "timings.png", "history.png"}
    page = (out / "report.html").read_text()
    assert "No cell finished" in page and "1 cell of the suite is not in the store" in page
    assert "nothing else competes there" in page


def test_a_synthetic_store_of_any_size_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(scale, "SOLVERS", 2)
    written = scale.fill(tmp_path / "store", 150)
    assert written == len(load_rows(Store(tmp_path / "store"))) >= 150
    found = scale.measure(tmp_path / "store", tmp_path / "out")
    assert 0 < found["page_megabytes"] < 12 and found["gigabytes"] > 0.05 and found["seconds"] > 0


def test_reports_never_import_torch():
    code = "import sys, scorebench.reports.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

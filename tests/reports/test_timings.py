"""Times beside other libraries: which rows are shown, what is concluded, and that parts that were not measured are left out."""

import pytest

from scorebench.reports import timings
from scorebench.reports.report import speeds

HEADINGS = "table,case,contender,version,quantity,unit,median,low,high,ratio,note,machine,torch\n"
OVERHEAD = (
    "overhead,DDIM,scorebench,1,overhead a step,µs,10,9,11,1,,a machine,2\n"
    "overhead,DDIM,diffusers,1,overhead a step,µs,35,30,40,3.5,,a machine,2\n"
)
ADAPTIVE = (
    "adaptive,error 0.0004,scorebench,1,mean evaluations,,80,80,80,nan,'40.0: 1.0e-02, 100.0: 1.0e-04',a machine,2\n"
    "adaptive,one latent 20 times,scorebench,1,mean evaluations,,55,55,55,nan,rtol 1e-3,a machine,2\n"
).replace("'", '"')


@pytest.fixture
def rows(tmp_path):
    def write(text):
        (tmp_path / "table.csv").write_text(HEADINGS + text)
        return timings.read(tmp_path / "table.csv")

    return write


def test_only_what_the_parts_show_is_read(rows):
    found = rows(OVERHEAD + ADAPTIVE + "startup,import torch,torch,2,process,s,2,2,2,nan,,a machine,2\n")
    assert found["part"].tolist() == ["overhead", "overhead", "adaptive"]


def test_caption_says_what_each_part_shows(rows):
    told = timings.caption(rows(OVERHEAD + ADAPTIVE))
    assert "costs 3.50 to 3.50 times ours" in told and "error of 0.0004: scorebench 80.0" in told
    assert "update" not in told and told.endswith("on a machine, torch 2.")


@pytest.mark.parametrize(("text", "parts"), [(OVERHEAD, 1), (OVERHEAD + ADAPTIVE, 2)])
def test_a_part_for_what_was_measured(rows, text, parts):
    assert len(timings.chart(rows(text)).axes) == parts


def test_a_ladder_is_read_back():
    calls, error = timings.ladder("44.4: 9.2e-03, 47.8: 6.6e-03")
    assert calls.tolist() == [44.4, 47.8] and error.tolist() == [9.2e-3, 6.6e-3]


def test_the_committed_table_has_every_part():
    committed = timings.read()
    assert set(committed["part"]) == set(timings.PARTS)
    assert set(committed["contender"]) >= set(timings.LIBRARIES)


def test_without_the_table_there_is_no_picture(tmp_path, monkeypatch):
    (picture,) = speeds()
    assert picture.file == "timings.png" and not picture.model
    nothing = timings.read(tmp_path / "none.csv")
    monkeypatch.setattr(timings, "read", lambda: nothing)
    assert list(speeds()) == []

"""The page in a browser, from disk: no error, no request, the answers of `choose`, and names that are shown, never run."""

import json
import math
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scorebench.bench.configurations import as_python, as_toml
from scorebench.reference_models.errors import UsageError
from scorebench.reports import explore
from scorebench.reports.choose import Answer, Question, choose
from scorebench.reports.page import Report, html
from scorebench.reports.report import write_report
from scorebench.reports.results import load

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
HOSTILE = "</script><img src=x onerror=\"document.title='run'\">'`${1}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = shutil.which("chromium") or started.chromium.executable_path  # the system's, or playwright's own
        if not Path(chromium).is_file():
            pytest.skip("no chromium on this machine: `playwright install chromium`")
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Any, path: Path) -> tuple[Any, list[str]]:
    """The page, and what must stay empty: console errors, errors of scripts, requests beyond the file."""
    page, wrong = browser.new_page(), list[str]()
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else wrong.append(r.url))
    page.goto(path.as_uri())
    return page, wrong


@pytest.fixture(scope="module")
def shown(browser: Any, full_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, list[str]]]:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(Report(load(full_store), [], [])))  # what is not explored is left out
    page, wrong = opened(browser, path)
    yield page, wrong
    page.close()


def says(page: Any, answer: Answer) -> None:
    """What stands on the first screen is the answer."""
    assert page.locator("#choose-amount").inner_text() == answer.question.text
    assert page.locator("#choose-best").inner_text() == answer.best.label
    assert page.locator("#choose-why").inner_text() == " ".join(answer.why)
    rows = [row.split("\t")[:2] for row in page.locator("#choose-rows").inner_text().splitlines()]
    expected = [[f"{n} {c.standing}", c.label] for n, c in enumerate(answer.choices[:12], 1)]
    assert rows == expected
    ties = page.locator("#choose-ties").inner_text()
    assert ties == (
        "Tied with it: " + ", ".join(c.label for c in answer.ties) if answer.ties else "Nothing ties with it."
    )


def stops(page: Any) -> Iterator[None]:
    """Every stop of the slider, by the keyboard."""
    slider = page.locator("#choose-slider")
    slider.press("Home")
    for _ in range(int(slider.get_attribute("max")) + 1):
        yield
        slider.press("ArrowRight")


def test_the_page_opens_without_an_error_or_a_request(shown: tuple[Any, list[str]]) -> None:
    page, wrong = shown
    assert page.locator("#choose").is_visible() and page.locator("#choose-best").inner_text()
    assert wrong == []


@pytest.mark.parametrize(
    ("model", "by", "limit"),
    [("digits-vp", "error", "nfe"), ("digits-vp", "error", "ms"), ("digits-vp", "likelihood", "quality"),
     ("gmm-2d", "fid", "nfe"), ("exact:gmm?process=ve", "error", "quality")],
)  # fmt: skip
def test_the_slider_says_what_choose_answers(
    shown: tuple[Any, list[str]], full_store: Path, model: str, by: str, limit: str
) -> None:
    (page, wrong), results = shown, load(full_store)
    page.locator("#choose-model").select_option(label=model)
    page.locator("#choose-by").select_option(by)
    page.locator("#choose-limit").select_option(limit)
    data = json.loads(page.locator("#chooser-data").inner_text())
    measures = next(m for m in data["models"] if m["name"] == model)["measures"]
    amounts = [stop["amount"] for stop in next(m for m in measures if m["by"] == by)["limits"][limit]]
    assert len(amounts) >= 4
    for amount, _ in zip(amounts, stops(page), strict=True):
        says(page, choose(results, Question(model, limit, amount, by)))
    assert wrong == []


def test_the_configuration_is_that_of_the_command(shown: tuple[Any, list[str]], full_store: Path) -> None:
    page, _ = shown
    page.locator("#choose-model").select_option(label="digits-vp")
    page.locator("#choose-by").select_option("error")
    page.locator("#choose-limit").select_option("nfe")
    question = Question("digits-vp", "nfe", 10.0)
    choices = choose(load(full_store), question).choices
    for place in (0, 2):
        page.locator("#choose-rows button").nth(place).click()
        choice = choices[place]
        budget = None if math.isnan(choice.budget) else int(choice.budget)
        for form, write in (("python", as_python), ("toml", as_toml)):
            page.locator(f"#choose-forms [value={form}]").click()
            written = write("digits-vp", choice.solver, choice.options, choice.grid, budget)
            assert page.locator("#choose-text").text_content() == written
    page.locator("#choose-copy").click()
    page.locator("#choose-copied:not(:empty)").wait_for()  # the clipboard answers later


def test_axes_switch_and_a_click_on_the_legend_hides(shown: tuple[Any, list[str]]) -> None:
    page, wrong = shown
    section = page.locator('.explore[data-model="digits-vp"]')
    section.scroll_into_view_if_needed()
    section.locator(".legendtoggle").first.wait_for(state="attached")
    quality, cost = section.locator("select").nth(0), section.locator("select").nth(1)
    axes = []
    for value in ("nfe", "ms"):
        cost.select_option(value)
        axes.append(section.locator(".xtitle").text_content())
    assert axes == ["network calls per sample (NFE)", "milliseconds a batch"]
    quality.select_option(label="FID[digits-cnn]")
    assert "Fréchet distance" in section.locator(".ytitle").text_content()
    hidden = "e => e.data[0].visible === 'legendonly'"
    assert not section.locator(".plot").evaluate(hidden)
    section.locator(".legendtoggle").first.click()
    page.wait_for_timeout(600)  # a second click within 300 ms would show this line alone
    assert section.locator(".plot").evaluate(hidden)
    assert wrong == []


def test_a_solver_that_diverges_does_not_flatten_the_others(browser: Any, build: Any, tmp_path: Path) -> None:
    made = build()
    for solver, size in (("ddim", 1e-2), ("rk45", 1e9)):
        for budget in (5, 10):
            made.likelihood("m", solver, budget, np.full(made.n, size / budget))
    path = tmp_path / "report.html"
    path.write_text(html(Report(load(made.finish()), [], [])))
    page, wrong = opened(browser, path)
    page.locator(".explore").scroll_into_view_if_needed()
    page.locator(".legendtoggle").first.wait_for(state="attached")
    low, high = page.locator(".explore .plot").evaluate("e => e._fullLayout.yaxis.range")
    assert low < -3 and 0.5 < high < 1.5  # to 3 bits/dim and a little more, not to 1e8
    assert wrong == []


def test_an_excess_over_the_reference_is_a_quality_to_choose(build: Any) -> None:
    made = build()
    for budget, value in ((5, 0.2), (10, -0.01)):
        rows = [
            {"metric": metric, "features": "x", "value": value, "low": value - 0.05, "high": value + 0.05, "unit": ""}
            | {"floor": 0.1, "floor_low": 0.05, "floor_high": 0.15}
            for metric in ("fid", "excess_fid")
        ]
        made.cell("m", "ddim", budget, rows=rows)
    panels = explore.data(load(made.finish()))["m"]
    assert [panel["title"] for panel in panels] == ["FID[x]", "excess FID[x]"]
    assert panels[1]["lines"][0]["value"] == [0.2, -0.01]
    assert {panel["floor_is"] for panel in panels} == {"real against real data"}


def test_the_committed_bundle_is_the_one_whose_digest_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Licensed under the MIT license" in explore.bundle()[:200] and "</script" not in explore.bundle()
    for name in (explore.BUNDLE, f"{explore.BUNDLE}.sha256"):
        (tmp_path / name).write_bytes((explore.VENDOR / name).read_bytes())
    (tmp_path / explore.BUNDLE).write_text("changed")
    monkeypatch.setattr(explore, "VENDOR", tmp_path)
    with pytest.raises(UsageError, match="digest"):
        explore.bundle()


def test_hostile_names_are_shown_and_never_run(browser: Any, build: Any) -> None:
    made, generator = build(), np.random.default_rng(0)
    for budget in (5, 10):
        for solver in (HOSTILE, "ddim"):
            made.errors(HOSTILE, solver, budget, generator.lognormal(size=made.n) / budget)
    store = made.finish()
    out = store.parent / "out"
    assert {path.parent for path in write_report(store, out)} == {out}
    page, wrong = opened(browser, out / "report.html")
    assert page.title().startswith("Diffusion samplers compared") and wrong == []
    assert page.locator("#choose-model option").inner_text() == HOSTILE
    assert HOSTILE in page.locator("#choose-rows").inner_text()
    for form in ("python", "toml", "diffusers"):
        page.locator(f"#choose-forms [value={form}]").click()
    page.locator(".explore").scroll_into_view_if_needed()
    page.locator(".legendtoggle").first.wait_for(state="attached")
    assert HOSTILE in page.locator(".explore .legend").text_content()
    command = shlex.split(page.locator("footer pre").last.inner_text())
    assert command[command.index("--model") + 1] == command[command.index("--solver") + 1] == HOSTILE
    assert page.locator("img[src=x]").count() == 0 and wrong == []
    assert page.title().startswith("Diffusion samplers compared")
    page.close()

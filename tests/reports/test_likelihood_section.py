"""The report's likelihoods: who is cheapest to which error, where the field's practice wins, and pictures between images."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scorebench.reports import likelihood, style
from scorebench.reports.figures import CROWD, background, leaders
from scorebench.reports.report import contents

PEER = "peer:score_sde-rk45"


def cells(*found: tuple[str, float, float]) -> pd.DataFrame:
    """Rows of (solver, calls, error), those of peers at a tolerance."""
    rows: list[dict[str, Any]] = [
        {"solver": solver, "label": solver, "nfe_mean": nfe, "value": error, "low": error, "high": error, "ms": 2 * nfe}
        | ({"budget": np.nan, "options": '{"atol": 0.001, "rtol": 0.001}'} if ":" in solver else {"budget": nfe})
        for solver, nfe, error in found
    ]
    return pd.DataFrame(rows)


OURS_THEN_THEIRS = cells(
    ("ddim", 8, 0.5), ("exp-ab3", 10, 0.09), (PEER, 30, 0.02), ("exp-ab3", 40, 0.004), ("ddim", 50, 0.006), (PEER, 60, 0.0007),
    (PEER, 90, 5e-5),
)  # fmt: skip


def test_the_cheapest_at_each_error_beside_the_practice() -> None:
    found = {r.target: (r.best["label"], r.best["nfe_mean"]) for r in likelihood.reached(OURS_THEN_THEIRS, "nfe_mean")}
    assert found == {0.1: ("exp-ab3", 10), 0.01: ("exp-ab3", 40), 0.001: (PEER, 60), 1e-4: (PEER, 90)}
    first = next(likelihood.reached(OURS_THEN_THEIRS, "nfe_mean"))
    assert first.told("nfe_mean") == ["exp-ab3", "10 calls", "0.0900 [0.0900, 0.0900]"]
    assert first.practice("nfe_mean") == [f"{PEER} at 0.001, 30 calls", "0.333"]
    alone = next(likelihood.reached(cells(("ddim", 8, 0.05), (PEER, 30, 0.2)), "nfe_mean"))
    assert alone.practice("nfe_mean") == ["not reached", "–"]


def test_the_sentence_says_where_the_practice_wins() -> None:
    text = likelihood.sentence(OURS_THEN_THEIRS, "nfe_mean")
    assert "exp-ab3 to 0.1 bits/dim (10 calls)" in text and f"{PEER} at 0.001 to 0.001 bits/dim (60 calls)" in text
    assert text.endswith(f"{PEER} wins from 0.0900 to 0.0200 and below 0.00400 bits/dim.")
    never = cells(("exp-ab3", 10, 0.09), (PEER, 30, 0.1))
    assert likelihood.sentence(never, "ms").endswith("wins at no error.")
    assert likelihood.sentence(cells(("ddim", 8, 2.0)), "nfe_mean") == "No solver reaches 0.1 bits/dim."
    assert likelihood.sentence(cells((PEER, 30, 0.1)), "ms").endswith(f"{PEER} wins down to 0.100 bits/dim.")
    cheap_peer = cells((PEER, 5, 0.1), ("ddim", 8, 0.05))
    assert likelihood.sentence(cheap_peer, "ms").endswith(f"{PEER} wins above 0.100 bits/dim.")


def test_a_crowd_is_grey_but_for_the_best_and_the_practice() -> None:
    many = cells(*((f"solver-{k}", 10, 0.1 * k) for k in range(1, CROWD + 1)), (PEER, 30, 0.01))
    assert leaders(many, "nfe_mean", []) == {"solver-1", PEER}
    assert background(many, {"solver-1"}) == {f"solver-{k}" for k in range(2, CROWD + 1)}
    assert background(many.tail(CROWD), {"solver-2"}) == set()
    assert style.marker(PEER) != style.marker("peer:k-diffusion-dopri5") and style.colour(PEER) not in style.COLOURS


@pytest.fixture
def likelihoods(build) -> Path:  # type: ignore[no-untyped-def]
    """A solver and a peer with their times and round trips, and rows between images."""
    made = build(32)
    error = np.linspace(0.5, 1.5, 32)
    for budget, size in ((10, 0.05), (20, 0.004)):
        made.likelihood("digits-vp", "exp-ab3", budget, size * error)
        times = [{"metric": "likelihood_ms", "value": 7.0 * budget, "low": 6.5 * budget, "high": 8.0 * budget}]
        empty = {"features": None, "unit": "ms", "floor": None}
        made.cell("digits-vp", "exp-ab3", budget, "likelihood-time", n=16, rows=[times[0] | empty])
        trip = [{"metric": "round_trip_error", "value": size, "low": size / 2, "high": 2 * size} | empty]
        arrays = {"index": np.arange(32), "error": size * error}
        made.cell("digits-vp", "exp-ab3", budget, "round-trip", rows=trip, arrays=arrays, n=32)
    rows = np.zeros((2, 5, 1, 8, 8), np.float32)
    rows[:, 1] = 0.25  # what comes back of the first image
    made.store.write_npz("references/interpolation-digits-vp.npz", {"rows": rows})
    return Path(made.finish())


def test_the_report_has_times_round_trips_and_interpolations(likelihoods: Path) -> None:
    files = contents(likelihoods)
    pictures = {name for name in files if name.endswith(".png")}
    model = "digits-vp.png"
    kinds = ("likelihood-nfe", "likelihood-ms", "round-trip-nfe", "interpolation")
    assert pictures == {f"{kind}-{model}" for kind in kinds} | {"timings.png", "history.png"}
    page, text = files["report.html"].decode(), files["report.md"].decode()
    for told in (page, text):
        assert "Who reaches which likelihood error, by calls" in told and "by ms (batch of 16" in told
        assert "cheapest practice" not in told and "not reached" not in told  # none was run
        assert "come back to within 0.250 (rms per pixel, the worst of 4)" in told
        assert "At 10 calls exp-ab3 has the smallest round-trip error, 0.0500" in told
        assert "Least time: exp-ab3 to 0.1 bits/dim (70.0 ms), exp-ab3 to 0.01 bits/dim (140 ms)." in told
        assert "Within 200 ms exp-ab3 has the smallest likelihood error" in told
    assert "Round trips (" in page and "Time of likelihoods (" in page

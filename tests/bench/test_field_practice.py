"""The field's practice as methods: in suites like any solver's rows, beside ours."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scorebench.bench import field_practice
from scorebench.bench.cells import plan
from scorebench.bench.field_practice import PEERS, Peer, find_peer
from scorebench.bench.rows import load_rows
from scorebench.bench.runner import run_suite
from scorebench.bench.store import Store
from scorebench.bench.suite import Likelihood, ModelEntry, RoundTrip, SolverEntry, Suite, Timing, load_suite
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.noise import Noise

RK45, DOPRI5 = "peer:score_sde-rk45", "peer:k-diffusion-dopri5"
TOLERANCE: dict[str, float | bool | str] = {"rtol": 1e-2, "atol": 1e-2}
SUITE = Suite(
    name="practice",
    sampling=False,
    budgets=[1, 6],
    models=[ModelEntry(address="exact:gmm")],
    solvers=[
        SolverEntry(id="exp-ab2"),
        SolverEntry(id="ddim", options={"eta": 1.0}),
        SolverEntry(id=RK45, ladder=[TOLERANCE]),
        SolverEntry(id=DOPRI5, ladder=[TOLERANCE]),
    ],
    likelihood=Likelihood(models=["exact:gmm"], images=5, prior="exact"),
    round_trip=RoundTrip(models=["exact:gmm"], images=5),
    timing=Timing(models=["exact:gmm"], of="likelihood", budgets=[6], batches=[3], rounds=2),
)


@pytest.fixture
def without_torchdiffeq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, DOPRI5, replace(PEERS[DOPRI5], package="torchdiffeq-which-is-not-there"))


def test_every_deterministic_solver_is_in_the_suite_and_no_other() -> None:
    cells = plan(load_suite("likelihood"))
    registered = {id for id, info in SOLVERS.items() if info.kind == "ode"}
    assert {cell.info.id for cell in cells} == registered | set(PEERS)
    assert {cell.config["kind"] for cell in cells} == {"ode"}
    assert {cell.config["pass"] for cell in cells} == {"likelihood", "round-trip", "likelihood-time"}


def test_passes_of_the_suite(tmp_path: Path, without_torchdiffeq: None) -> None:
    """Errors, round trips and times of what is deterministic; peers in likelihoods alone, skipped where they are missing."""
    store = Store(tmp_path / "store")
    outcome = run_suite(SUITE, store)
    rows = load_rows(store)
    assert (outcome.cells, outcome.failed) == (rows.cell.nunique(), 0)
    ran = rows[rows.status == "ok"].groupby("pass")["solver"].agg(lambda ids: set(ids)).to_dict()
    assert ran == {"likelihood": {"exp-ab2", RK45}, "round-trip": {"exp-ab2"}, "likelihood-time": {"exp-ab2", RK45}}
    assert not len(rows[rows.solver == "ddim"])
    missing = rows[rows.solver == DOPRI5]
    assert set(missing["pass"]) == {"likelihood", "likelihood-time"} and set(missing.status) == {"skipped"}
    assert missing.message.str.contains("not installed: `make peers`").all()
    small = rows[(rows.budget == 1)].set_index("pass")
    assert small.message.to_dict() == {"likelihood": "needs 2 network calls", "round-trip": "needs 2 network calls"}
    trip = rows[rows.metric == "round_trip_error"]
    assert trip.nfe_mean.tolist() == [6] and (trip.value > 0).all()
    timed = rows[rows["pass"] == "likelihood-time"].dropna(subset="metric")
    assert set(timed.metric) == {"likelihood_ms", "likelihood_cpu_ms", "likelihood_time_ratio", "likelihood_throughput"}
    assert timed[timed.solver == "exp-ab2"].calls.eq(6).all() and timed.value.gt(0).all()


def test_errors_with_the_exact_prior_are_the_solvers_own(tmp_path: Path) -> None:
    """A tight tolerance leaves of the Gaussian prior its mismatch, of the model's own density next to nothing."""
    tight = SolverEntry(id="rk45", ladder=[{"rtol": 1e-6, "atol": 1e-6}])
    errors = []
    for prior in ("gaussian", "exact"):
        section = Likelihood(models=["exact:gmm"], images=8, prior=prior)
        change = {"solvers": [tight], "likelihood": section, "round_trip": None, "timing": None, "dtype": "float64"}
        store = Store(tmp_path / prior)
        run_suite(SUITE.model_copy(update=change), store)
        rows = load_rows(store).set_index("metric")
        errors.append(float(rows.loc["likelihood_error", "value"]))
    assert errors[1] < 1e-5 < 1e-4 < errors[0]


def test_a_practice_that_is_installed_later_is_another_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> set[str]:
        return {cell.key for cell in plan(SUITE) if cell.info.id == DOPRI5}

    monkeypatch.setattr(Peer, "found", "torchdiffeq 1.0")
    before = keys()
    monkeypatch.setattr(Peer, "found", "torchdiffeq 1.1")
    assert len(before) == 2 and not before & keys()


def test_an_image_of_the_flattened_batch_depends_on_its_company() -> None:
    """Which is why such a method is no solver of ours: more images, other steps."""
    model = load_model("exact:gmm")
    p, x = model.process, Noise(0, torch.arange(6), model.shape).latents()
    grid = torch.tensor([p.t_max, p.t_min], dtype=torch.float64)
    ends = [solve(model, find_peer(RK45).info, grid, x[:n], options=TOLERANCE).x[0] for n in (1, 6)]
    assert not torch.allclose(*ends, rtol=1e-7) and torch.allclose(*ends, rtol=0, atol=0.05)
    with pytest.raises(UsageError, match="takes likelihoods, nothing else"):
        solve(model, find_peer(DOPRI5).info, grid, x)


def test_names_that_are_none() -> None:
    with pytest.raises(UsageError, match=f"unknown peer .*did you mean {RK45}"):
        find_peer("peer:score_sde-rk54")
    suite = SUITE.model_copy(update={"solvers": [SolverEntry(id="peer:nobody", ladder=[TOLERANCE])]})
    with pytest.raises(UsageError, match="unknown peer 'peer:nobody'"):
        suite.check()
    with pytest.raises(UsageError, match=r"needs a section \[likelihood\]"):
        SUITE.model_copy(update={"likelihood": None}).check()
    assert field_practice.is_peer(RK45) and not field_practice.is_peer("rk45")

"""Certificates: what holds passes, planted bugs and wrong claims fail, and released samplers are told for what they are."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scorebench.bench.certificates import batch, checks, mutants
from scorebench.bench.certificates.certificate import certify, certify_foreign, equals, peers, stochastic
from scorebench.bench.certificates.foreign import foreign
from scorebench.bench.certificates.likeness import ROUND_OFF, SAME, Identity, difference, end_of, identities
from scorebench.bench.certificates.orders import errors, observe
from scorebench.bench.certificates.own_times import stride_error
from scorebench.bench.certificates.trajectory import exact, mixture
from scorebench.bench.certificates.watched import Watched, watch
from scorebench.reference_models.errors import UsageError
from scorebench.reports.certificate import write_card
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.registry import find

IDENTITIES = [one for id in SOLVERS for one in identities(id)]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside diffusers


def test_the_exact_flow_is_one_on_every_process() -> None:
    """Its slope is the model's own velocity."""
    for name in ("vp", "flow"):
        model = mixture(name)
        p, t, h = model.process, 0.5, 1e-4
        alpha, sigma = (f(torch.tensor(t, dtype=torch.float64)) for f in (p.alpha, p.sigma))
        x = exact(p, t)
        eps = (x - alpha * model.denoise(x, torch.tensor(t, dtype=torch.float64))) / sigma
        times = torch.tensor([t - h, t + h], dtype=torch.float64)
        change = [exact(p, float(u)) / p.alpha(u) for u in times]
        slope = (change[1] - change[0]) / (p.sigma_hat(times[1]) - p.sigma_hat(times[0]))
        torch.testing.assert_close(slope, eps, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("id", ["dpmpp-2m", "ddim", "unipc-2", "sde-dpmpp-2m", "restart", "rk45"])
def test_registered_methods_keep_their_claims(id: str) -> None:
    certificate = certify(find(id))
    assert certificate.passed, [verdict for verdict in certificate.verdicts if verdict.passed is False]


def test_a_claim_too_high_fails() -> None:
    claims_more = replace(find("heun"), order=3, self_started=3)
    certificate = certify(claims_more)
    failed = [verdict.check for verdict in certificate.verdicts if verdict.passed is False]
    assert "order, exact start, logsnr" in failed and "order on ve" in failed
    assert certificate.verdict.startswith("fails: order, exact start, time_uniform")


def test_a_paper_that_claims_more_is_told() -> None:
    assert "holds; its paper claims order 3, it measures 2.0" in certify(find("dpmpp-3m")).verdict


def test_published_and_corrected_third_order() -> None:
    """With exact start and no lower-order last step: the published coefficient gives 2, the corrected 3, UniPC-3 gives 4."""
    for id, order, within in (("dpmpp-3m", 2, 0.2), ("dpmpp-3m-corrected", 3, 0.2), ("unipc-3", 4, 0.3)):
        assert observe(find(id)).value == pytest.approx(order, abs=within)
    published, corrected = (
        errors(find(id), "flow", "logsnr", 128, True, {}).mean() for id in ("dpmpp-3m", "dpmpp-3m-corrected")
    )
    assert published > 2 * corrected


@pytest.mark.parametrize(
    ("address", "check", "order"),
    [
        (
            "diffusers:DPMSolverMultistepScheduler?solver_order=3&lower_order_final=false",
            "order, exact start, karras",
            2.2,
        ),
        (
            "diffusers:DPMSolverMultistepScheduler?solver_order=3&algorithm_type=sde-dpmsolver%2B%2B&lower_order_final=false",
            "order of the drift, exact start, karras",
            1.0,
        ),
        ("diffusers:IPNDMScheduler", "order, exact start, karras", 2.0),
        ("diffusers:UniPCMultistepScheduler?solver_order=2&lower_order_final=false", "order, exact start, karras", 3.0),
    ],
)
def test_findings_on_released_schedulers(address: str, check: str, order: float) -> None:
    found = {verdict.check: verdict for verdict in certify_foreign(address).verdicts}
    assert found[check].value == pytest.approx(order, abs=0.2)


def test_ddim_with_linspace_spacing_steps_past_its_times() -> None:
    assert stride_error("diffusers:DDIMScheduler?timestep_spacing=linspace") > 1e-3
    assert stride_error("diffusers:DDIMScheduler?timestep_spacing=trailing") < 1e-5


def test_a_released_scheduler_equals_a_registered_method() -> None:
    found = {verdict.check: verdict for verdict in certify_foreign("diffusers:HeunDiscreteScheduler").verdicts}
    assert found["equals"].measured.startswith("heun (")
    assert certify_foreign("diffusers:HeunDiscreteScheduler").passed


def needs(address: str) -> None:
    """Skips a test of a library that is not installed."""
    try:
        foreign(address)
    except UsageError as error:
        pytest.skip(str(error))


@pytest.mark.filterwarnings("ignore")  # inside the libraries
@pytest.mark.parametrize("one", IDENTITIES, ids=[f"{one.id} {one.other}{one.where()}" for one in IDENTITIES])
def test_every_identity_holds(one: Identity) -> None:
    if one.released:
        needs(one.other)
    assert difference(SOLVERS[one.id], {}, one) < (SAME if one.released else ROUND_OFF)


def test_no_peer_is_said_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [verdict.measured for verdict in peers(find("stork-4"), {}, 0)] == ["no peer"]
    monkeypatch.setattr("scorebench.bench.certificates.certificate.find_spec", lambda _: None)
    (verdict,) = peers(find("dpm-solver-3"), {}, 0)
    assert verdict.measured == "not installed" and verdict.passed is None and "k-diffusion" in verdict.check


def test_flags_as_solvers_prints_them() -> None:
    """`scorebench solvers` shows `dpmsolver++` and numbers for functions of time."""
    plain, quoted = (
        foreign(f"diffusers:DPMSolverMultistepScheduler?algorithm_type=sde-dpmsolver{plus}&lower_order_final=false")
        for plus in ("++", "%2B%2B")
    )
    assert torch.equal(end_of(plain, {}), end_of(quoted, {}))
    stated = foreign("diffusers:SASolverScheduler?tau_func=1")
    assert torch.equal(end_of(stated, {}), end_of(foreign("diffusers:SASolverScheduler"), {}))


def test_churn_of_k_diffusion_is_told_for_what_it_is() -> None:
    needs("k-diffusion:heun")
    with pytest.raises(UsageError, match="did you mean s_churn"):
        foreign("k-diffusion:heun?s_chum=40")
    found = {verdict.check: verdict for verdict in certify_foreign("k-diffusion:heun?s_churn=40").verdicts}
    assert found["equals"].measured.startswith("edm-heun (") and not any("order" in check for check in found)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("diffusers:FlowMatchHeunDiscreteScheduler", r"^heun-t \(\S+\); on flow$"),
        ("diffusers:ScoreSdeVeScheduler?snr=0.16", r"^pc \(\S+\); on ve, sample by sample$"),
    ],
)
def test_samplers_of_one_process_are_compared_there(address: str, told: str) -> None:
    (verdict,) = equals(foreign(address), {}, 0)
    assert re.search(told, verdict.measured), verdict.measured


def test_a_scheduler_as_a_pipeline_stores_it(tmp_path: Path) -> None:
    from scorebench.reference_models.torchvision_repair import repair

    repair()
    import diffusers

    diffusers.DPMSolverMultistepScheduler(solver_order=3, lower_order_final=False).save_config(tmp_path)
    stored = foreign(f"diffusers:{tmp_path / 'scheduler_config.json'}")
    named = foreign("diffusers:DPMSolverMultistepScheduler?solver_order=3&lower_order_final=false")
    assert stored.claimed == 3 and torch.equal(end_of(stored, {}), end_of(named, {}))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("diffusers:DDIMSchedular", "did you mean DDIMScheduler"),
        ("diffusers:DDIMScheduler?clip=true", "unknown flag of DDIMScheduler 'clip'"),
        ("diffusers:LCMScheduler", "no way to drive this class is known; there is one for DDIMScheduler, DDPM"),
        ("diffusers:nowhere.json", "no file nowhere.json"),
        ("k-diffusion:dpmpp_2n", "did you mean dpmpp_2m"),
        ("scipy:RK54", "did you mean RK45"),
        ("torchsde:heun", "unknown integrator"),
        ("difusers:DDIMScheduler", "did you mean diffusers"),
    ],
)
def test_bad_addresses(address: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        foreign(address)


def test_every_mutant_can_be_planted_and_some_are_caught() -> None:
    """The whole hunt is `make mutants`; here one bug of each kind of check."""
    listed = mutants.mutants()
    assert len(listed) >= 30 and all(mutant.info() for mutant in listed)
    abouts = ("step ratio inverted", "one call more than declared", "a step ends off the grid", "noise √2 too large")
    chosen = [next(mutant for mutant in listed if mutant.about == about) for about in abouts]
    for mutant, certificate in mutants.hunt(chosen):
        assert not certificate.passed, mutant
    assert find("dpmpp-2m").method is SOLVERS["dpmpp-2m"].method  # the registry is as it was


def test_host_reads_are_seen_in_descendants() -> None:
    x = watch(torch.ones(3))
    y = 2 * x + 1
    assert Watched.reads == []
    float(y.sum())
    y.tolist()
    assert set(Watched.reads) == {"__float__", "tolist"}


def test_a_method_that_breaks_fails_with_its_cause() -> None:
    def broken(problem, x, grid):  # type: ignore[no-untyped-def]
        raise RuntimeError("nothing here")
        yield

    certificate = certify(replace(find("euler"), method=broken))
    assert not certificate.passed
    assert any("RuntimeError: nothing here" in verdict.measured for verdict in certificate.verdicts)


def test_a_wrong_weak_order_is_seen() -> None:
    found = list(stochastic(replace(find("sde-dpmpp-1"), order=2, strong=0.5), {}, 0))
    assert [verdict.passed for verdict in found][:5] == [False] * 5


def test_tables_and_cards(tmp_path: Path) -> None:
    certificates = list(batch.certify_all(["ddim"], [], workers=1))
    table = tmp_path / "table.csv"
    batch.write_table(table, certificates)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (
        {row["id"] for row in rows} == {"ddim"}
        and "ddim" not in batch.changed(table)
        and "heun" in batch.changed(table)
    )
    card = write_card(batch.write_json(tmp_path, certificates[0])).read_text()
    assert "Every registered claim holds." in card and "<svg" in card and "<script" not in card


def test_parameterisation_noise_is_only_round_off() -> None:
    (verdict,) = checks.parameterisations(find("exp-ab3"), {})
    assert verdict.value is not None and verdict.value < 1e-12

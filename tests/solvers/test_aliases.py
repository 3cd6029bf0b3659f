"""What other systems call the methods: every name leads to a registered one, and equal classes of diffusers are equal."""

import inspect
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import pytest
import torch
from torch import Tensor

from scorebench.bench.references import latents
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import Model
from scorebench.reference_models.torchvision_repair import repair
from scorebench.solvers import peer_names
from scorebench.solvers.aliases import cost_rule, describe, diffusers_of, names_of, resolve, told_of
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid, parse_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.options import check_options
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import find

LABELS = [(dialect, name) for dialect, names in peer_names.DIALECTS.items() for name in names]
SHIPPED = [info for info in SOLVERS.values() if info.method.__module__.startswith("scorebench.")]
EQUAL = [(info.id, name) for info in SHIPPED for name in diffusers_of(info) if not name.startswith("FlowMatch")]
STEPS = 8
pytestmark = [  # inside diffusers
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.algorithm_type:FutureWarning"),
]


def diffusers_class(name: str) -> Any:
    repair()
    import diffusers

    return getattr(diffusers, name)


@pytest.mark.parametrize(("dialect", "name"), LABELS)
def test_every_label_leads_to_a_registered_method(dialect: str, name: str) -> None:
    target = peer_names.DIALECTS[dialect][name]
    info, grid, options = resolve(name)
    assert info.id == target.partition("?")[0] in SOLVERS and grid is None
    check_options(info, options)
    assert name in names_of(info)[dialect]


@pytest.mark.parametrize("name", sorted(peer_names.DIFFUSERS))
def test_every_class_of_diffusers_leads_to_a_registered_method(name: str) -> None:
    scheduler = peer_names.DIFFUSERS[name]
    for method in scheduler.methods:
        flags = "&".join(f"{flag}={value}" for flag, value in method.when.items())
        info, _, options = resolve(f"{name}?{flags}")
        assert info.id == method.id
        check_options(info, options)
        assert name in names_of(info)["diffusers"]


@pytest.mark.parametrize("name", sorted(peer_names.DIFFUSERS))
def test_the_flags_and_their_defaults_are_those_of_diffusers(name: str) -> None:
    scheduler = peer_names.DIFFUSERS[name]
    made = diffusers_class(name)
    if "dummy" in made.__module__:
        pytest.skip("diffusers has it only where torchsde is installed")
    theirs = {p.name: p.default for p in inspect.signature(made.__init__).parameters.values()}
    assert {flag: theirs[flag] for flag in scheduler.defaults} == scheduler.defaults
    assert set(scheduler.exact) <= set(theirs)


@pytest.mark.parametrize("info", SHIPPED, ids=[info.id for info in SHIPPED])
def test_every_alias_of_a_method_leads_back_to_it(info: Any) -> None:
    assert resolve(info.id) == (info, None, {})
    for name in info.aliases:
        assert find(name) is info
    for name in diffusers_of(info):
        assert resolve(name).info is info


@pytest.mark.parametrize(
    ("name", "id", "grid", "options"),
    [
        ("DPM++ 2M Karras", "dpmpp-2m", "karras", {}),
        ("dpm++ 2m exponential", "dpmpp-2m", "logsnr", {}),
        ("DPM++ 2M SDE Heun Karras", "sde-dpmpp-2m", "karras", {"solver_type": "heun"}),
        ("Euler a", "euler-ancestral", None, {}),
        ("Euler Align Your Steps", "euler", "ays_sd15", {}),
        ("sample_dpmpp_2m_sde_gpu", "sde-dpmpp-2m", None, {}),
        ("k-diffusion:dpmpp_2m", "dpmpp-2m", None, {}),
        ("uni_pc", "unipc-3", None, {"variant": "bh1"}),
        ("ddim?eta=0.5", "ddim", None, {"eta": 0.5}),
        ("dpmpp-2m?lower_order_final=true", "dpmpp-2m", None, {"lower_order_final": True}),
        ("DPMSolverMultistepScheduler", "dpmpp-2m", None, {}),
        ("diffusers:DPMSolverMultistepScheduler?use_karras_sigmas=True", "dpmpp-2m", "karras", {}),
        ("DPMSolverMultistepScheduler?solver_order=3&use_lu_lambdas=true", "dpmpp-3m", "logsnr", {}),
        ("DPMSolverMultistepScheduler?algorithm_type=sde-dpmsolver++", "sde-dpmpp-2m", None, {}),
        ("DPMSolverMultistepScheduler?euler_at_final=true", "dpmpp-2m", None, {"lower_order_final": True}),
        ("UniPCMultistepScheduler?solver_type=bh1&use_beta_sigmas=true", "unipc-2", "beta_sigma", {"variant": "bh1"}),
        ("DDIMScheduler?timestep_spacing=trailing&prediction_type=v_prediction", "ddim", "trailing", {}),
        ("DDIMScheduler?timestep_spacing=leading&steps_offset=1", "ddim", "leading?steps_offset=1", {}),
        ("EDMDPMSolverMultistepScheduler?rho=5", "dpmpp-2m", "karras?rho=5", {}),
        ("FlowMatchEulerDiscreteScheduler?shift=2", "euler-t", "shift?shift=2", {}),
        ("PNDMScheduler?skip_prk_steps=true", "plms", None, {}),
    ],
)
def test_names_with_grids_and_options(name: str, id: str, grid: str | None, options: dict[str, Any]) -> None:
    found = resolve(name)
    assert (found.info.id, found.grid, found.options) == (id, grid, options)
    assert find(name) is found.info
    if grid is not None:
        assert str(parse_grid(grid)) == grid


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("DPM++ 2N Karras", "unknown solver"),
        ("dpmpp_2", "did you mean .*dpmpp-2m"),
        ("Karras", "unknown solver"),
        ("ddim?et=1", "unknown option of solver ddim 'et': did you mean eta"),
        ("ddim?eta=much", "eta is a float, as 0.0 is by default, got 'much'"),
        ("DDIMScheduler?thresholding=true", "changes the equation"),
        ("DEISMultistepScheduler?solver_ordr=2", "did you mean solver_order"),
        ("DPMSolverMultistepScheduler?solver_order=3&algorithm_type=sde-dpmsolver++", "is no registered method"),
        ("DEISMultistepScheduler?lower_order_final=true", "has no such option"),
        ("EDMEulerScheduler?rho=-1", "option rho must be above 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)


class Recorded(Noise):
    """Noise that keeps what it gave, in order, so that theirs can be the same."""

    given: tuple[Tensor, ...] = ()

    def _give(self, z: Tensor) -> Tensor:
        self.given = (*self.given, super()._give(z))
        return self.given[-1]


def module_of(name: str) -> Any:
    return inspect.getmodule(diffusers_class(name.partition("?")[0]))


def scheduler(name: str, grid: Tensor, model: Model) -> Any:
    """A diffusers scheduler with its flags whose training steps are our times: its step k is grid[STEPS − k]."""
    head, _, query = name.partition("?")
    cumulative = (model.process.alpha(grid) ** 2).flip(0).numpy()  # ᾱ, from clean to noisy
    betas = 1 - cumulative / np.concatenate([[1.0], cumulative[:-1]])
    words = {"true": True, "false": False}
    flags = {k: int(v) if v.isdigit() else words.get(v, v) for k, v in parse_qsl(query.replace("+", "%2B"))}
    made = diffusers_class(head)
    if "tau_func" in flags:
        flags["tau_func"] = lambda _: 1.0
    if "timestep_spacing" in inspect.signature(made.__init__).parameters:
        flags["timestep_spacing"] = "trailing"
    made = made(num_train_timesteps=len(betas), trained_betas=betas, prediction_type="epsilon", **flags)
    made.set_timesteps(len(betas))
    return made


def run(name: str, grid: Tensor, model: Model, x: Tensor, calls: int) -> Tensor:
    """The class's state after so many network calls, as x in our scale."""
    problem, p, lam = Problem.of(model, len(x)), model.process, model.process.lam(grid).flip(0).numpy()
    made = scheduler(name, grid, model)
    scaled = not torch.equal(made.scale_model_input(x, made.timesteps[0]), x)  # its state is x/α
    x = x / p.alpha(grid[0]) if scaled else x
    for timestep in made.timesteps[:calls]:
        t = p.t_of_lam(torch.tensor(np.interp(float(timestep), np.arange(len(lam)), lam)))
        eps = problem.eps(made.scale_model_input(x, timestep), float(t))
        x = made.step(eps, timestep, x).prev_sample
    return x * p.alpha(grid[-1]) if scaled else x


@pytest.mark.parametrize(("id", "name"), EQUAL)
def test_what_is_said_to_be_equal_in_diffusers_is(id: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("exact:gmm")
    # the same steps of a grid that no method is exact on; above t = 0.9 their float32 table of ᾱ loses digits
    grid = make_grid("karras", model.process, STEPS, 0.9, 0.01)
    x = latents(model, 8, 0, torch.float64)
    found = resolve(name)
    noise = Recorded(7, torch.arange(len(x)), model.shape)
    ours = solve(model, found.info, grid, x, options=found.options, noise=noise).x
    waiting = iter(noise.given)
    monkeypatch.setattr(module_of(name), "randn_tensor", lambda *_, **__: next(waiting), raising=False)
    theirs = run(name, grid, model, x, found.info.calls(STEPS, found.options) or 0)
    assert float((ours - theirs).norm() / ours.norm()) < 2e-5


def test_flow_match_euler_is_euler_in_t() -> None:
    """And its `shift` is ours: s u/(1 + (s − 1) u) of equally spaced u."""
    model = load_model("exact:gmm?process=flow")
    info, name, _ = resolve("FlowMatchEulerDiscreteScheduler?shift=3")
    grid = make_grid(name or "", model.process, STEPS, model.process.t_max, model.process.t_min)
    unshifted = grid / (3 - 2 * grid)
    made = diffusers_class("FlowMatchEulerDiscreteScheduler")(shift=3.0)
    made.set_timesteps(sigmas=unshifted.tolist())
    torch.testing.assert_close(unshifted.diff(), unshifted.diff()[:1].expand(STEPS), rtol=1e-10, atol=0)
    torch.testing.assert_close(made.sigmas[:-1].double(), grid, rtol=1e-5, atol=0)
    x = theirs = latents(model, 8, 0, torch.float64)
    problem = Problem.of(model, len(x))
    for n, timestep in enumerate(made.timesteps[:STEPS]):
        d = problem.denoise(theirs, grid[n])
        theirs = made.step((theirs - d) / grid[n], timestep, theirs).prev_sample  # ε − D
    ours = solve(model, info, grid, x).x
    assert float((ours - theirs).norm() / ours.norm()) < 1e-5


@pytest.mark.parametrize("info", SHIPPED, ids=[info.id for info in SHIPPED])
def test_a_description_is_words(info: Any) -> None:
    told = describe(info)
    assert told["solver"] == info.id and info.reference.link in str(told["published"])
    assert str(told["update"]).endswith((".", ":", ")")) or told["update"]
    assert all(
        isinstance(v, str) or (isinstance(v, list) and all(isinstance(e, str) for e in v)) for v in told.values()
    )


def test_a_name_tells_the_grid_and_options_that_it_says() -> None:
    assert told_of("UniPC Karras")["name"] == "UniPC Karras: unipc-3, grid karras, variant=bh1"
    assert told_of("dpmpp_2m") == describe(find("dpmpp-2m"))


def test_cost_rules() -> None:
    assert cost_rule(find("ddim")) == "n steps cost n calls"
    assert cost_rule(find("heun")) == "n steps cost 2n calls"
    assert cost_rule(find("dpm_fast")) == "n steps cost 3n − 3 calls, n ≥ 2"
    assert cost_rule(find("rk45")).startswith("adaptive")

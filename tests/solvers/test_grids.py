"""Time grids: their ends, their spacing in their own variable, the tables of others, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.discrete import DiscreteVP
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import Model
from scorebench.reference_models.process import EDM, VP, Process, make_process
from scorebench.reference_models.torchvision_repair import repair
from scorebench.solvers import align_your_steps as ays
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import ALIASES, GRIDS, OPTIMISE, check_points, make_grid, options_of, parse_grid
from scorebench.solvers.registry import find

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2  # Stable Diffusion's
DISCRETE = DiscreteVP.of(torch.cumprod(1 - BETAS, 0))
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # inside diffusers


@pytest.fixture(params=["vp", "subvp", "ve", "edm", "flow", "vp-discrete"])
def process(request: pytest.FixtureRequest) -> Process:
    return DISCRETE if request.param == "vp-discrete" else make_process(request.param)


def scheduler(kind: str, **flags: Any) -> Any:
    repair()
    import diffusers

    return getattr(diffusers, kind)(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, **flags
    )


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize("name", sorted(GRIDS))
def test_every_grid_goes_from_end_to_end(name: str, steps: int, process: Process) -> None:
    grid = make_grid(name, process, steps, process.t_max, process.t_min)
    assert grid.dtype == torch.float64 and grid.shape == (steps + 1,)
    assert (grid[0], grid[-1]) == (process.t_max, process.t_min)
    assert (grid.diff() < 0).all()
    torch.testing.assert_close(make_grid(name, process, steps, process.t_min, process.t_max), grid.flip(0))


@pytest.mark.parametrize(
    ("name", "spacing"),
    [
        ("time_uniform", lambda p, t: t),
        ("time_quadratic", lambda p, t: torch.sqrt(t)),
        ("logsnr", lambda p, t: p.lam(t)),
        ("karras", lambda p, t: p.sigma_hat(t) ** (1 / 7)),
        ("karras?rho=3", lambda p, t: p.sigma_hat(t) ** (1 / 3)),
        ("cosine", lambda p, t: torch.atan(p.sigma_hat(t))),
        ("cosine?sigma_data=0.5", lambda p, t: torch.atan(p.sigma_hat(t) / 0.5)),
        ("beta", lambda p, t: torch.from_numpy(stats.beta.cdf((t - t[-1]) / (t[0] - t[-1]), 0.6, 0.6))),
        ("shift?shift=2", lambda p, t: 1 / (1 + 2 / p.sigma_hat(t))),
    ],
)
def test_steps_are_equal_in_the_grids_own_variable(name: str, spacing: Any, process: Process) -> None:
    steps = spacing(process, make_grid(name, process, 12, process.t_max, process.t_min)).diff()
    torch.testing.assert_close(steps, steps.mean().expand(12), rtol=1e-6, atol=1e-9)


def test_the_shifted_grid_of_a_flow() -> None:
    """u' = s u / (1 + (s − 1) u); without a shift it is uniform in t."""
    p = make_process("flow")
    shifted = make_grid("shift?shift=3", p, 9, p.t_max, p.t_min)
    u = shifted / (3 - 2 * shifted)
    torch.testing.assert_close(u.diff(), u.diff().mean().expand(9), rtol=1e-9, atol=0)
    torch.testing.assert_close(
        make_grid("shift?shift=1", p, 9, p.t_max, p.t_min), make_grid("uniform", p, 9, 0.999, 1e-3)
    )


@pytest.mark.parametrize("steps", [5, 10, 20, 49])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_integer_spacings_are_those_of_diffusers(spacing: str, steps: int) -> None:
    """The first step of `leading` apart, whose grid begins at t_max here."""
    made = scheduler("DPMSolverMultistepScheduler", timestep_spacing=spacing)
    made.set_timesteps(steps)
    grid = make_grid(spacing, DISCRETE, steps, DISCRETE.t_max, DISCRETE.t_min)
    first = 1 if spacing == "leading" else 0
    assert grid[first:-1].tolist() == made.timesteps.tolist()[first:]
    ddim = scheduler("DDIMScheduler", timestep_spacing=spacing)
    ddim.set_timesteps(steps if spacing == "trailing" else steps + 1)  # the last of whose times is 0, our end
    assert grid[first : None if spacing != "trailing" else -1].tolist() == ddim.timesteps.tolist()[first:]


def test_leading_with_the_offset_of_stable_diffusion() -> None:
    made = scheduler("DPMSolverMultistepScheduler", timestep_spacing="leading", steps_offset=1)
    made.set_timesteps(9)
    grid = make_grid("leading?steps_offset=1", DISCRETE, 9, DISCRETE.t_max, DISCRETE.t_min)
    assert grid[1:-1].tolist() == made.timesteps.tolist()[1:] and made.timesteps[0] == 901 and grid[0] == 999


@pytest.mark.parametrize("name", ["leading", "linspace", "trailing"])
def test_continuous_processes_take_the_same_fractions(name: str) -> None:
    p = VP()
    k = make_grid(name, DISCRETE, 10, 999.0, 0.0)
    torch.testing.assert_close(make_grid(name, p, 10, 1.0, 1e-3), 1e-3 + 0.999 * k / 999, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("flag", "name"),
    [("use_karras_sigmas", "karras"), ("use_exponential_sigmas", "exponential"), ("use_beta_sigmas", "beta_sigma")],
)
def test_grids_in_sigma_are_those_of_diffusers(flag: str, name: str) -> None:
    made = scheduler("EulerDiscreteScheduler", **{flag: True})
    made.set_timesteps(11)  # points before σ = 0
    ours = DISCRETE.sigma_hat(make_grid(name, DISCRETE, 10, DISCRETE.t_max, DISCRETE.t_min))
    torch.testing.assert_close(ours, made.sigmas[:-1].double(), rtol=2e-5, atol=0)


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("StableDiffusion", ays.STABLE_DIFFUSION_15),
        ("StableDiffusionXL", ays.SDXL),
        ("StableDiffusionVideo", ays.STABLE_VIDEO),
    ],
)
def test_the_tables_of_align_your_steps(key: str, table: tuple[float, ...]) -> None:
    """diffusers' copy ends in 0 instead of the paper's last noise level."""
    repair()
    from diffusers.schedulers import AysSchedules

    assert list(table[:-1]) == AysSchedules[f"{key}Sigmas"][:-1] and AysSchedules[f"{key}Sigmas"][-1] == 0.0


@pytest.mark.parametrize("name", ["ays_sd15", "ays_sdxl", "ays_deepfloyd", "ays_svd"])
def test_align_your_steps_on_its_own_range_and_on_others(name: str) -> None:
    tables = {"sd15": ays.STABLE_DIFFUSION_15, "sdxl": ays.SDXL, "deepfloyd": ays.DEEPFLOYD, "svd": ays.STABLE_VIDEO}
    table = np.array(tables[name.removeprefix("ays_")])
    p = EDM(t_min=float(table[-1]), t_max=float(table[0]))
    np.testing.assert_allclose(make_grid(name, p, 10, p.t_max, p.t_min), table, rtol=1e-12)
    twenty = make_grid(name, p, 20, p.t_max, p.t_min).numpy()
    np.testing.assert_allclose(twenty[::2], table, rtol=1e-12)
    np.testing.assert_allclose(twenty[1::2], np.sqrt(table[:-1] * table[1:]), rtol=1e-12)  # log-linear between
    other = EDM()
    lam = -np.log(make_grid(name, other, 10, other.t_max, other.t_min).numpy())
    ratio = np.diff(lam) / np.diff(-np.log(table))
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_names_have_one_spelling() -> None:
    spellings = {
        "Karras": "karras",
        "karras?rho=7": "karras",
        "karras?rho=5.0": "karras?rho=5",
        "exponential": "logsnr",
        "SGM Uniform": "linspace",
        "kl_optimal": "cosine",
        "beta?beta=0.5&alpha=0.4": "beta?alpha=0.4&beta=0.5",
        "80, 4.0,0.002": "80,4,0.002",
        "t:80,4,0.002": "80,4,0.002",
        "sigma:14.6,1,0.03": "sigma:14.6,1,0.03",
        "gits": OPTIMISE,
        "optimise?latents=16": "optimise?latents=16",
    }
    assert {text: str(parse_grid(text)) for text in spellings} == spellings
    for text in spellings.values():
        assert str(parse_grid(text)) == text
    assert {parse_grid(name).id for name in ALIASES} <= {*GRIDS, OPTIMISE}
    assert all(options_of(name) is not None for name in (*GRIDS, OPTIMISE))


def test_every_solver_names_a_grid_that_there_is() -> None:
    assert find("ddim")  # the list is complete
    assert all(str(parse_grid(info.grid)) == info.grid for info in SOLVERS.values())


def test_explicit_lists() -> None:
    p = EDM()
    times = [80.0, 20.0, 5.0, 0.5, 0.002]
    text = ",".join(map(str, times))
    assert make_grid(text, p, 4, 80.0, 0.002).tolist() == times
    assert make_grid(text, p, 4, 0.002, 80.0).tolist() == times[::-1]
    assert make_grid("0.002,0.5,80", p, 2, 80.0, 0.002).tolist() == [80.0, 0.5, 0.002]
    assert make_grid("79.9,5,0.00201", p, 2, 80.0, 0.002).tolist() == [80.0, 5.0, 0.002]  # ends within 1 % are moved
    assert parse_grid(text).steps == 4 and parse_grid("karras").steps is None


def test_a_list_of_noise_levels(gaussian: Model) -> None:
    p = gaussian.process
    low, high = (float(p.sigma_hat(torch.tensor(t, dtype=torch.float64))) for t in (p.t_min, p.t_max))
    middle = (low * high) ** 0.5
    grid = make_grid(f"sigma:{high:.4g},{middle:.12g},{low:.4g}", p, 2, p.t_max, p.t_min)
    assert (grid[0], grid[2]) == (p.t_max, p.t_min)
    assert float(p.sigma_hat(grid[1])) == pytest.approx(middle, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("karas", "unknown grid 'karas': did you mean karras"),
        ("karras?rh=3", "unknown option of grid karras 'rh': did you mean rho"),
        ("karras?rho=x", "option rho is a number, got 'x'"),
        ("karras?rho=0", "option rho must be above 0, as 7 is"),
        ("karras?rho=nan", "option rho must be above 0"),
        ("logsnr?rho=7", "logsnr takes no options, got 'rho'"),
        ("1,0.5,0.7,0.001", "not monotone: 0.7 comes after 0.5"),
        ("1,1,0.001", "not monotone: 1 comes after 1"),
        ("1,a,0.001", "a list is of numbers"),
        ("t:1", "at least two finite numbers"),
        ("1,nan,0.001", "at least two finite numbers"),
        ("sigm:1,0.5", "unknown kind of grid in 'sigm:1,0.5' 'sigm': did you mean sigma"),
        ("0.9,0.5,0.001", "begins at t=0.9: on this process it goes from 1 to 0.001"),
        ("1,0.5,0.01", "ends at t=0.01"),
        ("sigma:80,1,0.002", "begins at sigma=80: on this process it goes from 152.1"),
        ("optimise", "is made for a model"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, message: str) -> None:
    p = VP()
    with pytest.raises(UsageError, match=message) as caught:
        name = parse_grid(text)
        check_points(name, p, p.t_max, p.t_min)
        make_grid(text, p, 2, p.t_max, p.t_min)
    assert "\n" not in str(caught.value)


def test_steps_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="needs at least 1 step, got 0"):
        make_grid("karras", VP(), 0, 1.0, 1e-3)
    with pytest.raises(UsageError, match="1500 steps are more than it can tell apart"):
        make_grid("linspace", DISCRETE, 1500, 999.0, 0.0)
    with pytest.raises(UsageError, match="has 2 steps, got 3"):
        make_grid("1,0.5,0.001", VP(), 3, 1.0, 1e-3)


def test_named_models_have_the_ends_that_lists_need() -> None:
    p = load_model("digits-vp").process
    check_points(parse_grid("1,0.5,0.001"), p, p.t_max, p.t_min)

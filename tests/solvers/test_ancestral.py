"""DDPM, ancestral, churned, restarted and Langevin sampling against diffusers and against their papers, noise for noise."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scorebench.bench.references import latents
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.model import Model
from scorebench.reference_models.torchvision_repair import repair
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import find

DOUBLE = torch.float64
STEPS = 12
LAM = torch.tensor([-0.7, -0.5, 0.1, 0.4, 1.0], dtype=DOUBLE)


class Recorded(Noise):
    """Noise that keeps what it gave, in order."""

    given: list[Tensor]

    def _give(self, z: Tensor) -> Tensor:
        z = super()._give(z)
        self.given = [*getattr(self, "given", []), z]
        return z


def ours(model: Model, id: str, grid: Tensor, x: Tensor, **options: Any) -> tuple[Tensor, list[Tensor]]:
    """Where the method ends, and the noise it drew on the way."""
    noise = Recorded(7, torch.arange(len(x)), model.shape, x.dtype)
    return solve(model, find(id), grid, x, options=options, noise=noise).x, getattr(noise, "given", [])


def points(model: Model, n: int = 6) -> Tensor:
    return Noise(0, torch.arange(n), model.shape).latents()


@pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # inside diffusers
@pytest.mark.parametrize(
    ("id", "kind", "options"),
    [
        ("ddpm", "DDPMScheduler", {"variance_type": "fixed_small"}),
        ("ddpm", "DDPMScheduler", {"variance_type": "fixed_large"}),
        ("euler-ancestral", "EulerAncestralDiscreteScheduler", {}),
        ("dpm2-ancestral", "KDPM2AncestralDiscreteScheduler", {}),
    ],
)
@pytest.mark.parametrize("grid_name", ["time_uniform", "karras"])
def test_agrees_with_diffusers_given_the_same_noise(
    id: str, kind: str, options: dict[str, Any], grid_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repair()
    import diffusers

    scheduler: Any = getattr(diffusers, kind)
    model = load_model("digits-vp")
    p, x = model.process, latents(model, 4, 0, torch.float32)
    grid = make_grid(grid_name, p, STEPS, 0.9, p.t_min)
    end, drawn = ours(model, id, grid, x, **options)
    waiting = iter(drawn)
    monkeypatch.setattr(f"{scheduler.__module__}.randn_tensor", lambda *_, **__: next(waiting))
    cumulative = (p.alpha(grid) ** 2).flip(0).numpy()
    betas = 1 - cumulative / np.concatenate([[1.0], cumulative[:-1]])
    settings = options | {"clip_sample": False} if options else {}
    made = scheduler(len(betas), trained_betas=betas, timestep_spacing="trailing", **settings)
    made.set_timesteps(len(betas))
    problem, s, calls = Problem.of(model, 4), p.sigma_hat(grid), find(id).calls_per_step or 0
    scale = torch.ones_like(grid) if id == "ddpm" else p.alpha(grid)  # theirs is x, or x/α
    y = x / scale[0]
    for call, timestep in enumerate(made.timesteps[: calls * STEPS]):
        n, t = call // calls, grid[call // calls]
        made.scale_model_input(y, timestep)
        if call % calls:  # half way in log σ̂ to σ̂_down = σ̂'²/σ̂
            t = p.t_of_sigma_hat(torch.sqrt(s[n] * s[n + 1] ** 2 / s[n]))
        at = y if id == "ddpm" else p.alpha(t) * y
        y = made.step(problem.eps(at, t), timestep, y).prev_sample
    theirs = scale[-1] * y
    assert next(waiting, None) is None
    assert float((end - theirs).norm() / theirs.norm()) < 1e-4


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddpm_and_euler_ancestral_are_ddim(eta: float, mixture: Model) -> None:
    """Three papers, one map: DDIM with η is Euler-ancestral with η, and DDPM's posterior step is DDIM's at η = 1."""
    grid, x = mixture.process.t_of_lam(LAM), points(mixture)
    ddim, _ = ours(mixture, "ddim", grid, x, eta=eta)
    torch.testing.assert_close(ours(mixture, "euler-ancestral", grid, x, eta=eta)[0], ddim, rtol=1e-10, atol=1e-11)
    if eta == 1.0:
        torch.testing.assert_close(ours(mixture, "ddpm", grid, x)[0], ddim, rtol=1e-10, atol=1e-11)
    if eta == 0.0:
        dpm2 = ours(mixture, "dpm2", grid, x)[0]
        torch.testing.assert_close(ours(mixture, "dpm2-ancestral", grid, x, eta=0.0)[0], dpm2, rtol=0, atol=0)


def test_dpm2_ancestral_with_half_the_noise(mixture: Model) -> None:
    """`sample_dpm_2_ancestral` of k-diffusion with eta = 0.5, in σ̂ and x/α."""
    p, eta = mixture.process, 0.5
    grid, x = p.t_of_lam(LAM), points(mixture)
    end, drawn = ours(mixture, "dpm2-ancestral", grid, x, eta=eta)
    s, y = p.sigma_hat(grid), x / p.alpha(grid[0])

    def d(y: Tensor, sigma: Tensor) -> Tensor:
        t = p.t_of_sigma_hat(sigma)
        return (y - mixture.denoise(p.alpha(t) * y, t)) / sigma

    for n in range(4):
        up = eta * torch.sqrt(s[n + 1] ** 2 * (s[n] ** 2 - s[n + 1] ** 2) / s[n] ** 2)
        down = torch.sqrt(s[n + 1] ** 2 - up**2)
        middle = torch.exp(0.5 * (torch.log(s[n]) + torch.log(down)))
        y = y + (down - s[n]) * d(y + (middle - s[n]) * d(y, s[n]), middle) + up * drawn[n]
    torch.testing.assert_close(end, p.alpha(grid[-1]) * y, rtol=1e-9, atol=1e-10)


def heun(model: Model, y: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Heun's step of x/α from σ̂ = high to low."""
    p = model.process

    def d(y: Tensor, sigma: Tensor) -> Tensor:
        t = p.t_of_sigma_hat(sigma)
        return (y - model.denoise(p.alpha(t) * y, t)) / sigma

    first = d(y, high)
    return y + (low - high) * 0.5 * (first + d(y + (low - high) * first, low))


def test_edm_heun_is_algorithm_2(mixture: Model) -> None:
    """Churn between S_min and S_max only, γ capped at √2 − 1; without churn the method is heun."""
    p = mixture.process
    grid, x = p.t_of_lam(LAM), points(mixture)
    options = {"S_churn": 1.2, "S_min": 0.5, "S_max": 1.7, "S_noise": 1.1}
    end, drawn = ours(mixture, "edm-heun", grid, x, **options)
    s, y, waiting = p.sigma_hat(grid), x / p.alpha(grid[0]), iter(drawn)
    for n in range(4):
        gamma = min(1.2 / 4, math.sqrt(2) - 1) if 0.5 <= s[n] <= 1.7 else 0.0
        raised = (1 + gamma) * s[n]
        if gamma:
            y = y + torch.sqrt(raised**2 - s[n] ** 2) * 1.1 * next(waiting)
        y = heun(mixture, y, s[n + 1], raised)
    assert len(drawn) == 3 and not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(end, p.alpha(grid[-1]) * y, rtol=1e-9, atol=1e-10)
    plain, none = ours(mixture, "edm-heun", grid, x, S_churn=0.0)
    assert not none
    torch.testing.assert_close(plain, ours(mixture, "heun", grid, x)[0], rtol=1e-12, atol=1e-13)
    one = grid[[0, 1]]
    capped, (z,) = ours(mixture, "edm-heun", one, x, S_churn=99.0)
    y = heun(mixture, x / p.alpha(one[0]) + s[0] * z, s[1], math.sqrt(2) * s[0])
    torch.testing.assert_close(capped, p.alpha(one[1]) * y, rtol=1e-9, atol=1e-10)


def test_no_churn_beyond_the_end_of_the_model() -> None:
    model = load_model("exact:gmm?process=ve")
    p, asked = model.process, []
    denoise = model.denoise
    model.denoise = lambda x, t: asked.append(float(t)) or denoise(x, t)  # type: ignore[method-assign, func-returns-value]
    ours(model, "edm-heun", make_grid("karras", p, 6, p.t_max, p.t_min), 50 * points(model))
    assert max(asked) == p.t_max and len(set(asked)) > 7


def test_restart_goes_back_k_times(mixture: Model) -> None:
    """The grid's point nearest to sigma_min but below sigma_max, K = 3 jumps, each back over two steps of ρ = 7."""
    p = mixture.process
    grid, x = p.t_of_lam(LAM), points(mixture)
    s = p.sigma_hat(grid)  # 2.01, 1.65, 0.90, 0.67, 0.37
    end, drawn = ours(mixture, "restart", grid, x, K=3, N_restart=3, sigma_min=0.7, sigma_max=0.85)
    y = x / p.alpha(grid[0])
    for n in range(4):
        y = heun(mixture, y, s[n + 1], s[n])
        for k in range(3 if n == 2 else 0):
            y = y + torch.sqrt(0.85**2 - s[3] ** 2) * drawn[k]
            middle = ((0.85 ** (1 / 7) + s[3] ** (1 / 7)) / 2) ** 7
            y = heun(mixture, heun(mixture, y, middle, torch.tensor(0.85, dtype=DOUBLE)), s[3], middle)
    assert len(drawn) == 3 and not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(end, p.alpha(grid[-1]) * y, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("K", "N_restart"), [(2.0, 3.0), (4.0, 2.0), (0.0, 5.0)])
def test_restart_costs_what_it_says(K: float, N_restart: float) -> None:
    model, info, options = load_model("exact:gmm"), find("restart"), {"K": K, "N_restart": N_restart}
    grid = make_grid("karras", model.process, 5, 1.0, 1e-3)
    noise = Noise(0, torch.arange(2), model.shape)
    solution = solve(model, info, grid, points(model, 2), options=options, noise=noise, keep_path=True)
    calls = info.calls(5, options)
    assert calls is not None and solution.count.calls == calls == 10 + 2 * K * (N_restart - 1)
    assert info.steps(calls, options) == 5 and info.steps(calls - 1, options) == 4
    assert [t for t, _ in solution.path] == grid.tolist()
    assert info.extra_calls == 8 and info.facts()["extra_calls"] == 8


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("ddpm", {"variance_type": "learned"}, "variance_type must be one of fixed_small, fixed_large"),
        ("pc", {"predictor": "heun"}, "predictor must be one of"),
        ("pc", {"corrector": "none"}, "corrector must be one of langevin, ald"),
        ("restart", {"K": 1.5}, "K must be a whole number"),
        ("restart", {"N_restart": 1.0}, "N_restart must be a whole number from 2"),
        ("restart", {"sigma_min": 0.4}, "sigma_min < sigma_max"),
        ("restart", {"sigma_min": 1e-4, "sigma_max": 1e-3}, "goes below sigma_max"),
    ],
)
def test_bad_options_are_refused(id: str, options: dict[str, Any], message: str) -> None:
    model = load_model("exact:gmm")
    with pytest.raises(UsageError, match=message):
        ours(model, id, make_grid("karras", model.process, 3, 1.0, 1e-3), points(model), **options)


@pytest.mark.parametrize("predictor", ["reverse_diffusion", "euler_maruyama", "ddpm"])
@pytest.mark.parametrize("corrector", ["langevin", "ald"])
def test_predictor_corrector_as_in_the_paper(predictor: str, corrector: str, mixture: Model) -> None:
    """Algorithms 2–5 of Song et al.: the corrector at the level where x is, then the predictor."""
    p, snr = mixture.process, 0.2
    grid, x = p.t_of_lam(LAM), points(mixture)
    end, drawn = ours(mixture, "pc", grid, x, snr=snr, predictor=predictor, corrector=corrector)
    waiting, damping = iter(drawn), (p.alpha(grid[:-1]) / p.alpha(grid[1:])) ** 2  # 1 − β

    def score(x: Tensor, t: Tensor) -> Tensor:
        return (p.alpha(t) * mixture.denoise(x, t) - x) / p.sigma(t) ** 2

    for n in range(4):
        t, u = grid[n], grid[n + 1]
        z, s = next(waiting), score(x, t)
        r = snr * p.sigma(t) if corrector == "ald" else snr * z.norm(dim=1, keepdim=True) / s.norm(dim=1, keepdim=True)
        size = 2 * damping[n] * r**2
        x = x + size * s + torch.sqrt(2 * size) * z
        z, s = next(waiting), score(x, t)
        if predictor == "euler_maruyama":
            x = x - (p.f(t) * x - p.g2(t) * s) * (t - u) + torch.sqrt(p.g2(t) * (t - u)) * z
            continue
        a = p.alpha(t) / p.alpha(u)
        v = p.sigma(t) ** 2 - a**2 * p.sigma(u) ** 2
        if predictor == "reverse_diffusion":
            x = x - (a - 1) * x + v * s + torch.sqrt(v) * z  # x − f + G² s + G z, f and G of the forward step
        else:
            d = mixture.denoise(x, t)
            mean = (a * p.sigma(u) ** 2 * x + p.alpha(u) * v * d) / p.sigma(t) ** 2
            x = mean + torch.sqrt(v) * p.sigma(u) / p.sigma(t) * z
    torch.testing.assert_close(end, x, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("corrector", ["langevin", "ald"])
def test_annealed_langevin_moves_at_the_levels_it_arrives_at(corrector: str, mixture: Model) -> None:
    p, snr = mixture.process, 0.2
    grid, x = p.t_of_lam(LAM), points(mixture)
    end, drawn = ours(mixture, "annealed-langevin", grid, x, snr=snr, corrector=corrector)
    for before, t, z in zip(grid[:-1], grid[1:], drawn, strict=True):
        s = (p.alpha(t) * mixture.denoise(x, t) - x) / p.sigma(t) ** 2
        r = snr * p.sigma(t) if corrector == "ald" else snr * z.norm(dim=1, keepdim=True) / s.norm(dim=1, keepdim=True)
        size = 2 * (p.alpha(before) / p.alpha(t)) ** 2 * r**2
        x = x + size * s + torch.sqrt(2 * size) * z
    torch.testing.assert_close(end, x, rtol=1e-9, atol=1e-10)


@cache
def paths(id: str, steps: int) -> Tensor:
    """Where 32 paths end at t = 0.2 from points at 0.8, all with the same Brownian motion in the method's clock."""
    model = load_model("exact:gmm")
    noise, p = Noise(3, torch.arange(32), model.shape), model.process
    x0 = model.samples(32, torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    start = torch.tensor(0.8, dtype=DOUBLE)
    x = p.alpha(start) * x0 + p.sigma(start) * noise.latents()
    return solve(model, find(id), make_grid("logsnr", p, steps, 0.8, 0.2), x, noise=noise).x


@pytest.mark.parametrize(
    ("id", "reference"),
    [
        ("ddpm", "dpm2-ancestral"),
        ("euler-ancestral", "dpm2-ancestral"),
        ("dpm2-ancestral", "euler-ancestral"),
        ("reverse-diffusion", "euler-maruyama"),
    ],
)
def test_methods_with_one_clock_have_one_limit(id: str, reference: str) -> None:
    """Against another method on a fine grid of the same paths: a method with a wrong noise or clock converges elsewhere."""
    truth = paths(reference, 512)
    coarse, fine = (float((paths(id, n) - truth).norm(dim=1).pow(2).mean().sqrt()) for n in (16, 32))
    assert math.log2(coarse / fine) == pytest.approx(SOLVERS[id].strong, abs=0.25)

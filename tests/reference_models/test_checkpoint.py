"""Checkpoints in diffusers' format, against diffusers' own one-step prediction, on a small model saved to disk here."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.discrete import DiscreteVP
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.network import NetworkModel
from scorebench.reference_models.torchvision_repair import repair
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

UNET: dict[str, Any] = {
    "sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (8, 8),
    "down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4, "add_attention": False,
}  # fmt: skip
X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def save(folder: Path, kind: str, options: dict[str, Any], **unet: Any) -> Any:
    """A pipeline's unet/ and scheduler/ in `folder`; the scheduler is returned."""
    repair()
    import diffusers

    torch.manual_seed(0)
    diffusers.UNet2DModel(**{**UNET, **unet}).save_pretrained(folder / "unet")
    scheduler = getattr(diffusers, kind)(**options)
    scheduler.save_pretrained(folder / "scheduler")
    return scheduler


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("kind", ["DDPMScheduler", "DDIMScheduler"])
def test_agrees_with_pred_original_sample(tmp_path: Path, kind: str, schedule: str, prediction: str) -> None:
    """To 1e-5 of its size at early, middle and late steps; α is 0.006 at the last, so the quotient by it is compared."""
    options = {"beta_schedule": schedule, "prediction_type": prediction, "clip_sample": False}
    scheduler = save(tmp_path, kind, options)
    scheduler.set_timesteps(1000)
    model = load_model(f"diffusers:{tmp_path}")
    assert isinstance(model, NetworkModel) and model.shape == (1, 8, 8)
    for step in (1, 10, 300, 700, 990):
        with torch.no_grad():
            output = model.network(X, torch.tensor(step), return_dict=False)[0]
            ours = model.denoise(X, torch.tensor(float(step), dtype=torch.float64))
        theirs = scheduler.step(output, step, X).pred_original_sample
        # their table is a float32 product, whose own error the smallest α and σ amplify
        assert float((ours - theirs).norm() / theirs.norm()) < (1e-5 if 10 <= step <= 700 else 5e-4)


def test_table_is_met_at_its_steps_and_its_inverse_is_exact(tmp_path: Path) -> None:
    scheduler = save(tmp_path, "DDPMScheduler", {})
    p = load_model(f"diffusers:{tmp_path}").process
    assert isinstance(p, DiscreteVP) and p.t_max == 999
    steps = torch.arange(1000, dtype=torch.float64)
    torch.testing.assert_close(p.alpha(steps) ** 2, scheduler.alphas_cumprod.double(), rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(p.alpha(steps) ** 2 + p.sigma(steps) ** 2, torch.ones(1000, dtype=torch.float64))
    between = torch.linspace(0, 999, 777, dtype=torch.float64)
    torch.testing.assert_close(p.t_of_lam(p.lam(between)), between, rtol=1e-10, atol=1e-9)
    inside = between[between % 1 > 0.1].requires_grad_()
    inside = inside[inside % 1 < 0.9].detach().requires_grad_()
    (slope,) = torch.autograd.grad(p.log_alpha(inside).sum(), inside)
    torch.testing.assert_close(p.f(inside), slope)


def test_zero_terminal_snr_is_cut_where_lambda_is_infinite(tmp_path: Path) -> None:
    save(tmp_path, "DDIMScheduler", {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"})
    p = load_model(f"diffusers:{tmp_path}").process
    assert p.t_max == 998 and bool(torch.isfinite(p.lam(torch.tensor(p.t_max, dtype=torch.float64))))


def test_score_sde_ve(tmp_path: Path) -> None:
    save(tmp_path, "ScoreSdeVeScheduler", {"sigma_max": 50.0}, time_embedding_type="fourier")
    model = load_model(f"diffusers:{tmp_path}")
    assert isinstance(model, NetworkModel) and model.process.prior_std == 50.0
    t = torch.tensor(0.6, dtype=torch.float64)
    sigma = float(model.process.sigma(t))
    with torch.no_grad():
        score = model.network(X, torch.tensor(sigma), return_dict=False)[0]
        torch.testing.assert_close(model.denoise(X, t), X + sigma**2 * score, rtol=1e-5, atol=1e-5)


def test_flow_matching(tmp_path: Path) -> None:
    scheduler = save(tmp_path, "FlowMatchEulerDiscreteScheduler", {})
    model = load_model(f"diffusers:{tmp_path}")
    assert isinstance(model, NetworkModel)
    scheduler.set_timesteps(sigmas=[0.7, 0.5])
    with torch.no_grad():
        velocity = model.network(X, scheduler.timesteps[0], return_dict=False)[0]
        d = model.denoise(X, torch.tensor(0.7, dtype=torch.float64))
    torch.testing.assert_close(d, X - 0.7 * velocity, rtol=1e-5, atol=1e-6)
    theirs = scheduler.step(velocity, scheduler.timesteps[0], X).prev_sample
    grid = torch.tensor([0.7, 0.5], dtype=torch.float64)
    with torch.no_grad():
        ours = solve(model, find("euler-t"), grid, X).x
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_guidance_mixes_and_counts_both_halves(tmp_path: Path) -> None:
    save(tmp_path, "DDPMScheduler", {}, num_class_embeds=5)
    t = torch.tensor(400.0, dtype=torch.float64)
    with torch.no_grad():
        label, null, guided = (
            load_model(f"diffusers:{tmp_path}?{options}") for options in ("label=2", "label=4", "label=2&guidance=3")
        )
        mixed = null.denoise(X, t) + 3 * (label.denoise(X, t) - null.denoise(X, t))
        torch.testing.assert_close(guided.denoise(X, t), mixed, rtol=1e-4, atol=1e-4)
        p = guided.process
        noise = Noise(0, torch.arange(3), guided.shape, torch.float32)
        grid = make_grid("logsnr", p, 4, p.t_max, p.t_min)
        count = solve(guided, find("dpmpp-2m"), grid, noise.latents(), noise=noise).count
    assert (count.calls, int(count.evaluations.max())) == (4, 8)


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        ("pickle", "", "is a pickle, which can run code"),
        ("nan", "", "holds NaN or infinity"),
        ("shape", "", "model 'diffusers:"),
        ("scheduler", "", "unknown scheduler .*did you mean DDIMScheduler"),
        ("schedule", "", "unknown beta_schedule"),
        ("kind", "", "holds a UNet2DConditionModel"),
        ("lost", "", "lacks a scheduler_config.json"),
        ("", "?label=1", "it has no classes"),
        ("", "?gidance=3", "did you mean guidance"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_line(tmp_path: Path, damage: str, options: str, message: str) -> None:
    save(tmp_path, "DDIMScheduler", {})
    unet, scheduler = tmp_path / "unet", tmp_path / "scheduler" / "scheduler_config.json"
    weights = unet / "diffusion_pytorch_model.safetensors"

    def edit(path: Path, **change: Any) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    from safetensors.torch import load_file, save_file

    match damage:
        case "pickle":
            weights.rename(unet / "diffusion_pytorch_model.bin")
        case "nan":
            tensors = load_file(weights)
            tensors["conv_in.weight"][0] = torch.nan
            save_file(tensors, weights, metadata={"format": "pt"})
        case "shape":
            edit(unet / "config.json", block_out_channels=[8, 16])
        case "scheduler":
            edit(scheduler, _class_name="DDIMSchedular")
        case "schedule":
            edit(scheduler, beta_schedule="sigmoid")
        case "kind":
            edit(unet / "config.json", _class_name="UNet2DConditionModel")
        case "lost":
            scheduler.unlink()
    with pytest.raises(UsageError, match=message) as caught:
        load_model(f"diffusers:{tmp_path}{options}")
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_folder_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, one line says so; with one, the files come back as a folder."""
    import huggingface_hub

    def offline(*_: object, **__: object) -> str:
        raise OSError("no network\nat all")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(
        UsageError, match=r"no folder some/model, and the hub gave no such model .no network at all."
    ) as caught:
        load_model("diffusers:some/model")
    assert "\n" not in str(caught.value)

"""Networks: one denoiser under several processes, labels and guidance, and what an address may ask of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scorebench.bench.model_quality import of_turn
from scorebench.reference_models import addresses, recipes, training
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.network import NetworkModel, build_unet, load_network
from scorebench.reference_models.parameterisation import Parameterisation
from scorebench.reference_models.process import VP, make_process
from scorebench.solvers.drive import solve
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

DOUBLE = torch.float64
SHIPPED = addresses.shipped()


def network(address: str) -> NetworkModel:
    model = load_model(address)
    assert isinstance(model, NetworkModel)
    return model.to(DOUBLE)


class ByTime(torch.nn.Module):
    def forward(self, x: torch.Tensor, c_noise: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        return (c_noise[:, None] * x,)


def by_time() -> NetworkModel:
    return NetworkModel("by time", ByTime(), VP(), Parameterisation("epsilon", conditioning="t"), (3,), "")


def test_what_is_kept_of_a_time_serves_gradients_too() -> None:
    model, x = by_time(), torch.ones(2, 3)
    with torch.inference_mode():
        model.mix(x, 0.5, 0.0, 1.0)
    (slope,) = torch.autograd.grad(model.mix(x.requires_grad_(), 0.5, 0.0, 1.0).sum(), x)
    alpha, sigma = VP().at(0.5, lambda p, t: (p.alpha(t), p.sigma(t)))
    torch.testing.assert_close(slope, torch.full((2, 3), (1 - 0.5 * sigma) / alpha))


def test_what_is_kept_of_a_time_is_of_one_process() -> None:
    model, x = by_time(), torch.ones(2, 3)
    before = model.mix(x, 0.5, 0.0, 1.0)
    other = model.under(make_process("edm", t_min=0.02))
    fresh = by_time().under(other.process)
    torch.testing.assert_close(other.mix(x, 0.5, 0.0, 1.0), fresh.mix(x, 0.5, 0.0, 1.0), rtol=0, atol=0)
    assert not torch.equal(other.mix(x, 0.5, 0.0, 1.0), before)


@pytest.mark.parametrize("process", ["ve", "edm", "flow", "subvp"])
@pytest.mark.parametrize("name", [name for name in SHIPPED if name.endswith("-vp")])
def test_another_process_is_a_change_of_variables(name: str, process: str) -> None:
    """From σ/α = 20 to 0.05, x/α follows one flow, whatever the process that the network is read under."""
    ends, within = [], {"flow": "&t_max=0.99", "subvp": "&t_min=0.007"}.get(process, "")  # the noise it was trained on
    for model in (network(name), network(f"{name}?process={process}{within}")):
        p = model.process
        t = p.t_of_sigma_hat(torch.tensor([20.0, 0.05], dtype=DOUBLE))
        x = Noise(0, torch.arange(2), model.shape).latents() * 20 * p.alpha(t[0])
        with torch.no_grad():
            x = solve(model, find("rk45"), t, x, options={"rtol": 1e-7, "atol": 1e-8}).x
        ends.append(x / p.alpha(t[1]))
    assert float((ends[1] - ends[0]).norm() / ends[0].norm()) < 1e-5


def test_a_process_beyond_the_trained_noise_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"from noise level .* to 152, the network was trained from 0.01 to 50; set its"
    ):
        load_model("digits-ve?process=vp")
    assert load_model("digits-ve?process=vp&t_max=0.8").process.t_max == 0.8
    one, other = network("digits-vp"), network("digits-vp?process=ve")
    assert one.digest != other.digest


@pytest.fixture
def labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small labelled network, trained for a moment."""
    recipe = recipes.RECIPES["digits-vp"]
    small = {**recipe.architecture, "block_out_channels": [8, 8], "norm_num_groups": 4}
    recipe = replace(
        recipe,
        name="tiny",
        architecture=small,
        steps=2,
        posterior=2,
        batch=16,
        labelled=True,
        half=True,
    )
    list(training.train(recipe, tmp_path))
    return tmp_path


def test_labels_and_guidance(labelled: Path) -> None:
    """Without options the label is the one for none; guidance mixes the two and both halves count."""
    x, t = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor(0.4, dtype=DOUBLE)
    null, three, guided = (
        load_network(labelled, "tiny", options) for options in ({}, {"label": "3"}, {"label": "3", "guidance": "7.5"})
    )
    assert (null.label, null.null, null.evaluations_per_call, guided.evaluations_per_call) == (10, 10, 1, 2)
    with torch.no_grad():
        d0, d3, d = (model.denoise(x, t) for model in (null, three, guided))
    assert float((d3 - d0).norm()) > 0
    torch.testing.assert_close(d, d0 + 7.5 * (d3 - d0), rtol=1e-4, atol=1e-4)
    for options, message in (
        ({"label": "11"}, r"label 11 is not in 0…10"),
        ({"guidance": "3"}, "guidance needs a model with classes and a label"),
        ({"label": "x"}, "label is an integer"),
    ):
        with pytest.raises(UsageError, match=message):
            load_network(labelled, "tiny", options)


def test_quality_asks_for_every_label_as_often(labelled: Path) -> None:
    model, plain = load_network(labelled, "tiny"), network("digits-vp")
    assert [of_turn(model, turn).label for turn in (0, 3, 9, 10)] == [0, 3, 9, 0] and model.label == model.null
    assert of_turn(plain, 3) is plain


def test_half_precision_is_what_ships(labelled: Path) -> None:
    from safetensors.torch import load_file

    stored = load_file(labelled / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert {p.dtype for p in load_network(labelled, "tiny").network.parameters()} == {torch.float32}


def test_a_network_starts_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights are those of the network it starts from; labels are new."""
    recipe = replace(recipes.RECIPES["digits-ve"], start="digits-vp", labelled=True)
    state = training.Run(recipe, "cpu").network.state_dict()
    for key, value in network("digits-vp").to(torch.float32).network.state_dict().items():
        assert torch.equal(value, state.pop(key))
    assert set(state) == {"class_embedding.weight"} and not state.popitem()[1].any()  # at first a label says nothing


@pytest.mark.parametrize("name", ["fashion-vp", "fashion-ve", "fashion-subvp", "fashion-flow"])
def test_a_patched_network_says_one_denoiser_whatever_it_predicts(name: str) -> None:
    """Untrained, at noise levels from 0.01 to 50: D of each process equals D of v at the same x/α and σ/α."""
    recipe = recipes.RECIPES[name]
    torch.manual_seed(0)
    net = build_unet({**recipe.architecture, "patched": "v"}).double()
    denoisers = []
    for process, parameterisation in (
        (make_process("edm"), Parameterisation("v", "unit", "log_sigma")),
        (make_process(recipe.process), recipe.parameterisation),
    ):
        net.prediction = parameterisation.prediction
        model = NetworkModel("net", net, process, parameterisation, (1, 28, 28), "").to(DOUBLE)
        levels = torch.tensor([0.01, 0.3, 2.0, 50.0], dtype=DOUBLE)
        t = process.t_of_sigma_hat(levels)
        x = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
        x = x * torch.sqrt(1 + levels**2).reshape(-1, 1, 1, 1) * process.alpha(t).reshape(-1, 1, 1, 1)
        denoisers.append(model.denoise(x, t))
    torch.testing.assert_close(denoisers[1], denoisers[0], rtol=1e-7, atol=1e-7)


def test_an_untrained_network_errs_by_as_much_at_every_level() -> None:
    """Even at σ/α = 100 the loss of what it says of v is of unit size, and half the times lie where σ > α."""
    run = training.Run(replace(recipes.RECIPES["fashion-vp"], half=False), "cpu")
    x0, t, eps, _ = run._batch()
    levels = run.model.process.sigma_hat(t)
    assert int((levels > 1).sum()) in range(30, 35)
    for level in (0.02, 1.0, 100.0):
        at = run.model.process.t_of_sigma_hat(torch.full((64,), level, dtype=DOUBLE))
        assert 0.2 < training.loss_of(run.model, x0, at, eps, None, "v").item() < 2


def test_what_is_kept_of_a_time_serves_transforms_and_gradients() -> None:
    class Sine(torch.nn.Module):
        def forward(self, x: torch.Tensor, c_noise: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
            return (x**2 * torch.sin(c_noise)[:, None],)

    model = NetworkModel("sine", Sine(), VP(), Parameterisation("epsilon"), (3,), "")
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor(0.3, dtype=torch.float64)

    def slope() -> torch.Tensor:
        gradient: torch.Tensor = torch.func.vjp(lambda at: model.denoise(at, t), x)[1](torch.ones_like(x))[0]
        return gradient

    expected = slope()
    with torch.inference_mode():
        model.denoise(x, t)
    torch.testing.assert_close(slope(), expected)
    asked = x.clone().requires_grad_()
    model.denoise(asked, t).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(asked.grad, expected)

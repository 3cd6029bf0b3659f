"""Training: a short run, killed and resumed, gives the very weights of a run that was not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scorebench.bench.model_card import write_card
from scorebench.reference_models import classifier, recipes, training
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.network import load_network

SMALL = {**recipes.DIGITS_UNET, "block_out_channels": [8, 8], "norm_num_groups": 4}


@pytest.fixture(autouse=True)
def short_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(recipes.RECIPES["digits-ve"], name="tiny", architecture=SMALL, steps=6, batch=8)
    monkeypatch.setitem(recipes.RECIPES, "tiny", recipe)


@pytest.mark.parametrize("posterior", [0, 3])
def test_a_killed_run_resumes_to_the_same_weights(posterior: int, tmp_path: Path) -> None:
    recipe = replace(recipes.RECIPES["tiny"], posterior=posterior)
    whole = [(step, loss) for step, _, loss, _ in training.train(recipe, tmp_path / "whole", every=2)]
    for step, _, _, _ in training.train(recipe, tmp_path / "killed", every=2):
        if step == 4:
            break  # what a kill leaves behind
    assert (tmp_path / "killed" / "checkpoint.pt").exists()
    rest = [(step, loss) for step, _, loss, _ in training.train(recipe, tmp_path / "killed", every=2)]
    assert rest == whole[2:]
    digests = {(tmp_path / run / "digest.txt").read_text() for run in ("whole", "killed")}
    assert len(digests) == 1 and not (tmp_path / "killed" / "checkpoint.pt").exists()


def test_posterior_means_are_shown_in_the_last_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    run, shown = training.Run(replace(recipes.RECIPES["tiny"], posterior=2), "cpu"), list[int]()
    monkeypatch.setattr(run, "_expected", lambda t, labels, x0, x: shown.append(run.done) or x0)
    for _ in range(6):
        run.step()
    assert shown == [4, 5]


def test_fewer_steps_keep_the_share_of_posterior_means() -> None:
    whole = recipes.RECIPES["fashion-vp"]
    short = recipes.recipe_of("fashion-vp", steps=whole.steps // 100)
    assert (short.steps, short.posterior) == (whole.steps // 100, whole.posterior // 100)
    assert recipes.recipe_of("digits-vp", steps=300) == replace(recipes.RECIPES["digits-vp"], steps=300)


@pytest.mark.parametrize("labelled", [False, True])
def test_posterior_means_change_the_target_where_noise_is_much_and_not_its_average(labelled: bool) -> None:
    """Over many draws of x₀ they average to what x₀ does; of a label, to its own images; near the data they are x₀."""
    recipe = replace(recipes.RECIPES["tiny"], labelled=labelled, batch=512, posterior=6)
    run = training.Run(recipe, "cpu")
    x0, t, eps, labels = run._batch()
    process = run.model.process
    x = x0 + process.sigma(t).float().reshape(-1, 1, 1, 1) * eps
    mean, far = run._expected(t, labels, x0, x), process.sigma_hat(t) > training.NEAR
    assert torch.equal(mean[~far], x0[~far]) and int(far.sum()) > 100
    assert (mean - x0)[far].square().mean() > 0.01
    shown = torch.full((512,), recipes.CLASSES) if labels is None else labels
    for label in shown.unique().tolist():
        rows = far & (shown == label)
        kept = run.levels if label == recipes.CLASSES else run.levels[run.labels == label]
        images = recipe.data.dequantise(kept.float())
        lowest, highest = images.amin(0), images.amax(0)
        assert ((mean[rows] >= lowest - 1e-5) & (mean[rows] <= highest + 1e-5)).all()
    off = (mean - x0)[far].flatten(1)
    error = off.std(0) / len(off) ** 0.5
    assert (off.mean(0).abs() < 5 * error + 0.02).all()  # dequantisation is in x₀ alone


def test_a_trained_folder_loads_and_draws_its_card(tmp_path: Path) -> None:
    *_, (_, _, _, averaged) = training.train(recipes.RECIPES["tiny"], tmp_path, every=3)
    model = load_network(tmp_path, "tiny")
    x, t = torch.zeros(2, 1, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    torch.testing.assert_close(model.denoise(x, t), averaged.denoise(x, t))
    write_card("tiny", tmp_path, model, samples=100)
    assert "scorebench train tiny" in (tmp_path / "card.md").read_text()
    assert all((tmp_path / name).stat().st_size > 0 for name in ("samples.png", "loss.png"))


def test_a_run_stopped_at_its_card_is_not_run_again(tmp_path: Path) -> None:
    recipe = recipes.RECIPES["tiny"]
    assert len(list(training.train(recipe, tmp_path))) == 1
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns
    assert list(training.train(recipe, tmp_path)) == []
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == before
    (tmp_path / "card.md").touch()
    assert len(list(training.train(recipe, tmp_path))) == 1  # asked for again: from the start
    assert not (tmp_path / "card.md").exists()


def test_edited_weights_are_refused(tmp_path: Path) -> None:
    list(training.train(recipes.RECIPES["tiny"], tmp_path, every=6))
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("log_sigma", "999t"))
    with pytest.raises(UsageError, match=r"sha256 .* expected .*scorebench train tiny"):
        load_network(tmp_path, "tiny")
    config.unlink()
    with pytest.raises(UsageError, match=r"lacks config.json"):
        load_network(tmp_path, "tiny")


@pytest.mark.parametrize(("name", "least"), [("digits-cnn", 0.97), ("fashion-cnn", 0.91)])
def test_shipped_classifiers_are_accurate_and_small(name: str, least: float) -> None:
    """The digits' accuracy is measured; that of garments, whose data need not be here, is the card's."""
    network, digest = classifier.load_classifier(name)
    card = (classifier.WEIGHTS / name / "card.md").read_text()
    share = classifier.accuracy(name, network) if name == "digits-cnn" else None
    stated = float(card.split("held-out accuracy | ")[1].split("%")[0]) / 100
    assert stated > least and digest in card
    assert share is None or share == pytest.approx(stated, abs=1e-3)
    assert (classifier.WEIGHTS / name / "model.safetensors").stat().st_size < 1_000_000

"""Training: a short run, killed and resumed, gives the very weights of a run that was not."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scorebench.bench.model_card import write_card
from scorebench.reference_models import classifier, training
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.network import load_network

SMALL = {**training.DIGITS_UNET, "block_out_channels": [8, 8], "norm_num_groups": 4}


@pytest.fixture(autouse=True)
def short_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(training.RECIPES["digits-ve"], name="tiny", architecture=SMALL, steps=6, batch=8)
    monkeypatch.setitem(training.RECIPES, "tiny", recipe)


@pytest.mark.parametrize("restart", [None, 2, 4])
def test_a_killed_run_resumes_to_the_same_weights(restart: int | None, tmp_path: Path) -> None:
    recipe = replace(training.RECIPES["tiny"], restart=restart)
    whole = [(step, loss) for step, _, loss, _ in training.train(recipe, tmp_path / "whole", every=2)]
    for step, _, _, _ in training.train(recipe, tmp_path / "killed", every=2):
        if step == 4:
            break  # what a kill leaves behind
    assert (tmp_path / "killed" / "checkpoint.pt").exists()
    rest = [(step, loss) for step, _, loss, _ in training.train(recipe, tmp_path / "killed", every=2)]
    assert rest == whole[2:]
    digests = {(tmp_path / run / "digest.txt").read_text() for run in ("whole", "killed")}
    assert len(digests) == 1 and not (tmp_path / "killed" / "checkpoint.pt").exists()


def test_a_restart_continues_from_the_averaged_weights_with_a_fresh_schedule() -> None:
    run, name = training.Run(replace(training.RECIPES["tiny"], steps=8, restart=4), "cpu"), "conv_in.weight"
    for _ in range(4):
        run.step()
    averaged, epochs = run.averaged[name].clone(), run.schedule.last_epoch
    assert not torch.equal(run.network.state_dict()[name], averaged)
    run.step()
    assert (epochs, run.schedule.last_epoch) == (4, 1)
    assert torch.equal(run.network.state_dict()[name], averaged)  # the first rate of a warm-up is 0


def test_fewer_steps_restart_as_much_earlier() -> None:
    assert training.recipe_of("fashion-vp", steps=300).restart == 100
    assert training.recipe_of("digits-vp", steps=300).restart is None


def test_a_trained_folder_loads_and_draws_its_card(tmp_path: Path) -> None:
    *_, (_, _, _, averaged) = training.train(training.RECIPES["tiny"], tmp_path, every=3)
    model = load_network(tmp_path, "tiny")
    x, t = torch.zeros(2, 1, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    torch.testing.assert_close(model.denoise(x, t), averaged.denoise(x, t))
    write_card("tiny", tmp_path, model, samples=100)
    assert "scorebench train tiny" in (tmp_path / "card.md").read_text()
    assert all((tmp_path / name).stat().st_size > 0 for name in ("samples.png", "loss.png"))


def test_a_run_stopped_at_its_card_is_not_run_again(tmp_path: Path) -> None:
    recipe = training.RECIPES["tiny"]
    assert len(list(training.train(recipe, tmp_path))) == 1
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns
    assert list(training.train(recipe, tmp_path)) == []
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == before
    (tmp_path / "card.md").touch()
    assert len(list(training.train(recipe, tmp_path))) == 1  # asked for again: from the start
    assert not (tmp_path / "card.md").exists()


def test_edited_weights_are_refused(tmp_path: Path) -> None:
    list(training.train(training.RECIPES["tiny"], tmp_path, every=6))
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

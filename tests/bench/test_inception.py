"""Inception-v3's features: only of the published file, from bytes quantised once, in columns of their own."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scorebench.bench import inception
from scorebench.bench.features import Extractor
from scorebench.bench.rows import load_rows
from scorebench.bench.runner import cells_of, run_suite
from scorebench.bench.store import Store, digest_of
from scorebench.bench.suite import ModelEntry, SolverEntry, Suite
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.torchvision_repair import repair

SUITE = Suite(
    name="looked-at",
    budgets=[3],
    models=[ModelEntry(address="digits-vp", n=44), ModelEntry(address="exact:gmm", n=44)],
    solvers=[SolverEntry(id="ddim")],
    metrics=["error_median", "kid"],
)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state of a network of random weights, taken for the published file."""
    repair()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Bare(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, state: object) -> None:
            pass

    place = tmp_path / inception.PUBLISHED
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **_: tensor)
    torch.save({}, place)
    network = Bare(inception.NAME, ["2048"], feature_extractor_weights_path=str(place))
    generator = torch.Generator().manual_seed(0)
    for value in network.parameters():
        value.copy_(0.05 * torch.randn(value.shape, generator=generator))
    torch.save(network.state_dict(), place)
    monkeypatch.setattr(inception, "SHA256", digest_of(place.read_bytes()))
    monkeypatch.setenv(inception.VARIABLE, str(place))
    return place


def test_features_are_torch_fidelitys_of_the_quantised_image(stand_in: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    extractor = inception.inception_for(load_model("digits-vp"))
    assert extractor is not None and extractor.digest == inception.SHA256
    x = torch.linspace(-1.2, 1.2, 128).reshape(2, 1, 8, 8)
    network = FeatureExtractorInceptionV3("another", ["2048"], feature_extractor_weights_path=str(stand_in))
    expected = network(inception.to_bytes(x))[0].numpy()
    found = extractor.extract(x)
    assert found.shape == (2, 2048) and found.std() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_bytes_are_quantised_once_and_grey_is_repeated() -> None:
    levels = torch.arange(256).reshape(1, 1, 16, 16)
    found = inception.to_bytes(2 * (levels + 0.5) / 256 - 1)
    assert found.dtype == torch.uint8 and found.shape == (1, 3, 16, 16)
    assert all(torch.equal(found[0, c].long(), levels[0, 0]) for c in range(3))
    assert inception.to_bytes(torch.tensor([-3.0, 3.0]).reshape(2, 1, 1, 1)).flatten().tolist() == [0] * 3 + [255] * 3


@pytest.mark.parametrize(("content", "message"), [(None, "no file"), (b"another", "has sha256 .* expected 6726825d")])
def test_a_wrong_file_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, message: str
) -> None:
    place = tmp_path / "weights.pth"
    if content is not None:
        place.write_bytes(content)
    monkeypatch.setenv(inception.VARIABLE, str(place))
    with pytest.raises(UsageError, match=message) as caught:
        inception.inception_for(load_model("digits-vp"))
    assert "\n" not in str(caught.value) and inception.VARIABLE in str(caught.value)


def test_rows_of_inception_stand_beside_those_of_the_default_features(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With pixels in the network's place, which is slow; a model without images has none."""

    def pixels(model: object) -> Extractor | None:
        images = len(model.shape) == 3  # type: ignore[attr-defined]
        return Extractor(inception.NAME, "0", lambda x: x.flatten(1).float().numpy()) if images else None

    plain = {cell.key for cell in cells_of(SUITE, Store(tmp_path))}
    monkeypatch.setattr("scorebench.bench.cells.inception_for", pixels)
    store = Store(tmp_path / "store")
    assert run_suite(SUITE, store).failed == 0
    rows = load_rows(store)
    features = rows[rows.metric == "kid"].groupby("model").features.agg(sorted)
    assert features["digits-vp"] == ["digits-cnn", "inception-v3"] and features["exact:gmm"] == ["identity"]
    kid = rows[(rows.metric == "kid") & (rows.model == "digits-vp")].set_index("features")
    assert kid.value.nunique() == 2 and kid.floor.notna().all()
    assert len(plain & {cell.key for cell in cells_of(SUITE, store)}) == 1  # only the model of images is measured anew

"""Noise: Philox's published answers, normality, independence, and Brownian paths that add up."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scorebench.reference_models.addresses import load_model
from scorebench.solvers import fused, registry  # noqa: F401  (so that the list is complete)
from scorebench.solvers import noise as noise_module
from scorebench.solvers import philox as philox_module
from scorebench.solvers.drawn import Drawn, apart
from scorebench.solvers.drive import solve
from scorebench.solvers.facts import SOLVERS
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise, increment_draws, normals, probes, uniforms
from scorebench.solvers.philox import philox, words


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [  # the known answers that Random123 publishes for philox4x32-10
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, int], answer: tuple[int, ...]) -> None:
    assert tuple(int(w) for w in philox(tuple(torch.tensor(c) for c in counter), key)) == answer


@pytest.mark.skipif(not fused.available(), reason="needs numba")
@pytest.mark.parametrize("seed", [0, 3, (7 << 32) + 0xFFFFFFFF])
@pytest.mark.parametrize("own", [False, True])
def test_many_words_are_those_of_few(seed: int, own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled rounds against torch's, at positions beyond 32 bits, each sample's own or all samples'."""
    indices = torch.tensor([0, 5, 2**32 - 1])
    positions = torch.tensor([0, 9, (4099 << 40) + (13 << 32) + 8191])
    positions = positions + torch.arange(3)[:, None] if own else positions
    monkeypatch.setattr(philox_module, "FEWEST", {False: 2**17, True: 2**17})
    few = words(seed, indices, 13, 5, positions)
    monkeypatch.setattr(philox_module, "FEWEST", {False: 1, True: 1})
    assert torch.equal(words(seed, indices, 13, 5, positions), few)
    assert few.shape == (3, 3, 13) and few.max() < 2**32 and few.min() >= 0


def test_latents_are_standard_normal_and_belong_to_the_index() -> None:
    z = Noise(3, torch.arange(4000), (5,)).latents()
    assert float(z.mean()) == pytest.approx(0, abs=5 / 20_000**0.5)
    assert float(z.var()) == pytest.approx(1, abs=5 * (2 / 20_000) ** 0.5)
    assert float(z.pow(4).mean()) == pytest.approx(3, abs=5 * (96 / 20_000) ** 0.5)
    assert torch.equal(Noise(3, torch.tensor([17, 2]), (5,)).latents(), z[[17, 2]])
    assert not torch.equal(Noise(4, torch.arange(4000), (5,)).latents(), z)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1e-5, 1e3), min_size=3, max_size=3, unique=True))
def test_brownian_increments_add_up(times: list[float]) -> None:
    """W(c) − W(a) = (W(c) − W(b)) + (W(b) − W(a)) for any order of a, b, c, whatever was asked before."""
    a, b, c = times
    noise = Noise(0, torch.arange(3), (2,))

    def increment(s: float, t: float) -> torch.Tensor:
        return noise.increment(s, t) * abs(t - s) ** 0.5

    scale = max(times) ** 0.5
    torch.testing.assert_close(increment(a, c), increment(a, b) + increment(b, c), rtol=0, atol=1e-12 * scale)
    torch.testing.assert_close(increment(a, c), -increment(c, a), rtol=0, atol=1e-12 * scale)


def test_increments_between_times_of_each_samples_own_are_those_of_its_path() -> None:
    noise = Noise(6, torch.arange(5), (3,))
    s = torch.tensor([0.3, 0.3, 5.0, 1.0, 1e-3], dtype=torch.float64)
    t = torch.tensor([0.31, 0.9, 0.02, 0.5, 700.0], dtype=torch.float64)
    alone = [noise[torch.tensor([i])].increment(float(s[i]), float(t[i])) for i in range(5)]
    torch.testing.assert_close(noise.increments(s, t), torch.cat(alone), rtol=0, atol=1e-13)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1e-5, 1e3), min_size=2, max_size=2, unique=True))
def test_increments_are_weighted_sums_of_normals(times: list[float]) -> None:
    """Of as few as the two ends do not share, so that a GPU may draw them where it adds them."""
    draws, indices = increment_draws(*times), torch.arange(3)
    drawn = [w * normals(8, indices, 2, stream, torch.tensor([position]))[0] for w, stream, position in draws]
    assert len({draw[1:] for draw in draws}) == len(draws)
    torch.testing.assert_close(sum(drawn), Noise(8, indices, (2,)).increment(*times), rtol=0, atol=1e-8)


def test_noise_that_waits_is_drawn_by_what_reads_it_and_added_up_by_an_update() -> None:
    index, other = torch.arange(2), torch.arange(2)
    known, one, two, strange = (Drawn(1, i, (3,), ((0.5, 0, k),)) for k, i in enumerate([index, index, index, other]))
    known.known = strange.known = torch.full((2, 3), 7.0)
    assert (2 * known).equal(torch.full((2, 3), 14.0)) and type(known - 1) is torch.Tensor
    assert known.shape == (2, 3) and known.dtype is torch.float32 and known.is_contiguous()
    x = torch.ones(2, 3)
    read, drawn = apart([(1.0, x), (3.0, one), (4.0, known), (5.0, two)])
    assert [(c, term is expected) for (c, term), expected in zip(read, (x, known.known), strict=True)] == [
        (1.0, True),
        (4.0, True),
    ]
    assert drawn is not None and drawn.draws == ((1.5, 0, 1), (2.5, 0, 2)) and drawn.samples is index
    assert apart([(1.0, x), (2.0, strange)])[1] is None


@pytest.mark.parametrize(("s", "t"), [(0.3, 0.31), (0.3, 0.9), (1e-3, 700.0), (0.5, 1.0)])
def test_brownian_increments_have_their_variance(s: float, t: float) -> None:
    z = Noise(1, torch.arange(5000), (4,)).increment(s, t)
    assert float(z.mean()) == pytest.approx(0, abs=5 / 20_000**0.5)
    assert float(z.var()) == pytest.approx(1, abs=5 * (2 / 20_000) ** 0.5)


def test_disjoint_increments_are_independent() -> None:
    noise = Noise(2, torch.arange(5000), (4,))
    z = [noise.increment(s, t) for s, t in ((0.2, 0.3), (0.3, 0.45), (0.45, 1.7))] + [
        noise.latents(),
        noise.independent(0),
    ]
    correlation = torch.corrcoef(torch.stack([part.flatten() for part in z]))
    assert float((correlation - torch.eye(5)).abs().max()) < 5 / 20_000**0.5


@pytest.mark.parametrize("s", [torch.tensor([0.7]), torch.linspace(0.1, 3, 7)])
def test_a_batch_is_drawn_in_parts(s: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    noise, s = Noise(2, torch.arange(7), (2, 3)), s.double()
    whole = noise.increments(s.expand(7), 2 * s.expand(7)), noise._within(s)
    monkeypatch.setattr(noise_module, "AT_ONCE", 18)  # three samples
    assert torch.equal(noise.increments(s.expand(7), 2 * s.expand(7)), whole[0])
    assert torch.equal(noise._within(s), whole[1])


def test_probes_are_signs_and_uniforms_fill_the_interval() -> None:
    signs, u = probes(0, torch.arange(500), (7,)), uniforms(0, torch.arange(500), (7,))
    assert set(signs.flatten().tolist()) == {-1.0, 1.0} and abs(float(signs.mean())) < 5 / 3500**0.5
    assert 0 <= float(u.min()) and float(u.max()) < 1 and abs(float(u.mean()) - 0.5) < 5 * (1 / 12 / 3500) ** 0.5


@pytest.mark.parametrize("id", sorted(SOLVERS))
def test_no_sample_sees_its_batch(id: str) -> None:
    """Every solver, stochastic ones too, gives each sample the same result alone, among 7 and among 64."""
    model = load_model("exact:gaussian")
    options = {"eta": 0.5} if "eta" in SOLVERS[id].options else {}
    grid = make_grid("logsnr", model.process, 6, 1.0, 1e-3)

    def run(indices: torch.Tensor) -> torch.Tensor:
        noise = Noise(5, indices, model.shape)
        return solve(model, SOLVERS[id], grid, noise.latents(), options=options, noise=noise).x

    everyone = torch.arange(64)
    whole = run(everyone)
    for indices in (*everyone.split(7), everyone[:1], everyone[-1:]):
        torch.testing.assert_close(run(indices), whole[indices], rtol=1e-11, atol=1e-12)

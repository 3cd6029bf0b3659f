"""The Triton kernels against the eager update and the host's noise; without a GPU they run in Triton's interpreter."""

import importlib.util
import os

import pytest
import torch

from scorebench.reference_models.addresses import load_model
from scorebench.solvers import drawn, noise, update
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.registry import find
from scorebench.solvers.update import eager

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed: pip install triton, a gigabyte", allow_module_level=True)
CUDA = torch.cuda.is_available()
if not CUDA:
    os.environ["TRITON_INTERPRET"] = "1"  # read when kernels are defined
device_update = importlib.import_module("scorebench.solvers.device_update")
DEVICE = "cuda" if CUDA else "cpu"
SEED, STREAM, POSITION = (3 << 40) + 12345, noise.INDEPENDENT, (7 << 33) + 5
INDICES = torch.tensor([0, 1, 77, 2**31 + 9])


@pytest.mark.parametrize("size", [1, 1023, 4099])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_sums_are_those_of_float64(count: int, size: int) -> None:
    generator = torch.Generator().manual_seed(size + count)
    exact = torch.randn(count, size + 1, generator=generator, dtype=torch.float64)[:, 1:]
    weights = [0.37 - 0.6 * n for n in range(count)]
    kinds = [torch.float32, torch.float16, torch.bfloat16]
    given = [(c, x.to(kinds[n % 3]).to(DEVICE)) for n, (c, x) in enumerate(zip(weights, exact, strict=True))]
    out = device_update.combine(given)
    assert out.dtype is torch.float32
    expected = eager(*[(c, x.double()) for c, x in given])
    torch.testing.assert_close(out.double(), expected, rtol=count * 2**-23, atol=count * 2**-22)


def test_what_does_not_fit() -> None:
    x = torch.ones(6, 5)
    assert device_update.fits([(1.0, x), (2.0, x.half())])
    assert not device_update.fits([(1.0, x.T)])
    assert not device_update.fits([(1.0, x.half())])
    assert not device_update.fits([(1.0, x), (1.0, x.double())])
    assert not device_update.fits([(1.0, x.clone().requires_grad_())])
    assert not device_update.fits([(1.0, x)] * 7)


@pytest.mark.parametrize("count", [1, 7, 1030])
def test_integers_are_the_hosts(count: int) -> None:
    expected = noise.words(SEED, INDICES, count, STREAM, torch.tensor([POSITION]))[0]
    found = device_update.words(SEED, INDICES.to(DEVICE), count, STREAM, POSITION)
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1,), (3, 7), (2, 33, 17)])
def test_normals_are_the_hosts(shape: tuple[int, ...]) -> None:
    host = noise.Noise(SEED, INDICES, shape).independent(POSITION)
    found = device_update.normals(SEED, INDICES.to(DEVICE), shape, STREAM, POSITION)
    torch.testing.assert_close(found.cpu().double(), host, rtol=0, atol=1e-6)


def noise_of(shape: tuple[int, ...], samples: int = len(INDICES)) -> noise.Noise:
    """Noise that the kernels draw, here in the interpreter too."""
    made = noise.Noise(SEED, INDICES[:samples], shape, torch.float32, DEVICE)
    made.on_device = made.indices.to(DEVICE)
    return made


@pytest.mark.parametrize("shape", [(3,), (2, 33, 17)])
def test_noise_is_drawn_in_the_update(shape: tuple[int, ...]) -> None:
    """Beside a half and a float32 term; two noises of one step are one table. Nothing is drawn before."""
    host, own = noise.Noise(SEED, INDICES, shape), noise_of(shape)
    x = torch.randn(len(INDICES), *shape, generator=torch.Generator().manual_seed(0))
    one, two = own.increment(0.7, 0.3), own.independent(POSITION)
    terms = [(0.9, x.to(DEVICE)), (0.5, one), (-0.3, x.half().to(DEVICE)), (2.0, two)]
    assert device_update.fits(terms)
    found = device_update.combine(terms)
    assert one.known is None and two.known is None and found.dtype is torch.float32
    wanted = (0.9, x), (0.5, host.increment(0.7, 0.3)), (-0.3, x.half()), (2.0, host.independent(POSITION))
    expected = eager(*[(c, term.double()) for c, term in wanted])
    torch.testing.assert_close(found.cpu().double(), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize(("s", "t"), [(0.9, 0.3), (1e-3, 700.0), (0.5, 1.0), (0.30001, 0.3)])
def test_increments_are_those_of_the_hosts_path(s: float, t: float) -> None:
    found = noise_of((5,)).increment(s, t)
    torch.testing.assert_close(
        found.cpu().double(), noise.Noise(SEED, INDICES, (5,)).increment(s, t), rtol=0, atol=1e-6
    )


def test_what_is_no_update_draws_once() -> None:
    z = noise_of((2, 3)).independent(POSITION)
    expected = noise.Noise(SEED, INDICES, (2, 3)).independent(POSITION)
    norm = z.flatten(1).norm(dim=1)
    kept = z.known
    torch.testing.assert_close(norm.cpu().double(), expected.flatten(1).norm(dim=1), rtol=1e-6, atol=0)
    torch.testing.assert_close((2 * z).cpu().double(), 2 * expected, rtol=0, atol=2e-6)
    assert kept is not None and z.known is kept and drawn.settled(z) is kept
    assert eager((1.0, torch.zeros(4, 2, 3, device=DEVICE)), (1.0, z)).equal(kept)


@pytest.mark.parametrize("id", ["sde-dpmpp-2m", "pc"])
def test_solvers_end_where_they_do_with_the_hosts_noise(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every update in the kernels, whatever the size of the state."""
    monkeypatch.setattr(update, "FEWEST", 1)
    monkeypatch.setattr(update, "fused", device_update)
    monkeypatch.setattr(update, "kernels", lambda: device_update)
    model, info = load_model("exact:gaussian"), find(id)
    p, host = model.process, noise.Noise(SEED, INDICES[:2], model.shape, torch.float32, DEVICE)
    grid, x = make_grid(info.grid, p, 2, p.t_max, p.t_min), host.latents()
    host.on_device = None
    ends = [solve(model, info, grid, x, noise=z).x for z in (host, noise_of(model.shape, 2))]
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-4, atol=1e-4 * float(ends[0].abs().max()))

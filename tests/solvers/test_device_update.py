"""The Triton kernels against the eager update and the host's noise; without a GPU they run in Triton's interpreter."""

import importlib.util
import os

import pytest
import torch

from scorebench.solvers import noise
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

"""The update on CUDA and the noise in it, one kernel in Triton: every entry is read once and written once, noise is neither.

The noise is that of `noise.py`: the same counters and keys, so the same integers to the bit; its transcendental functions are
taken in float64, so the same normals to their round-off. Of the host it takes a table of weights, from pinned memory.
"""

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import noise
from .drawn import Drawn, Term, apart

TERMS = 6
TILE = 1024
VALUES = ["seed_low", "seed_high", "stream", "low", "high"]  # a 1 among them is no constant of the kernel
TURN = tl.constexpr(2 * math.pi / 2**32)
SHARE = tl.constexpr(1 / 2**32)


def fits(terms: Sequence[Term]) -> bool:
    """Whether these terms can be added here: dense, of one shape, float32 and narrower types, without gradients."""
    first = terms[0][1]
    plain = all(x.is_contiguous() and x.shape == first.shape and x.dtype is not torch.float64 for _, x in terms)
    widest = any(x.dtype is torch.float32 for _, x in terms)
    recorded = torch.is_grad_enabled() and any(x.requires_grad for _, x in terms)
    return len(terms) <= TERMS and plain and widest and not recorded


def combine(terms: Sequence[Term]) -> Tensor:
    """Σ c_i · x_i, float32, of terms that fit: halves and float32 beside one another, and noise that is drawn here."""
    read, noise = apart(terms)
    first = terms[0][1]
    out = torch.empty(first.shape, dtype=torch.float32, device=first.device)
    padded = [*read, *[(0.0, out)] * (TERMS - len(read))]  # which are not read
    weights, tensors = [float(c) for c, _ in padded], [x for _, x in padded]
    shape = {"COUNT": len(read), "TILE": TILE}
    if noise is None:
        sum_kernel[(triton.cdiv(out.numel(), TILE),)](out, out.numel(), *tensors, *weights, **shape)
    else:
        count, indices = math.prod(noise.shape[1:]), noise.samples
        table = on(out.device, [[stream << 24, *split(position)] for _, stream, position in noise.draws])
        each = on(out.device, [weight for weight, *_ in noise.draws])
        given = count, indices, *split(noise.seed), table, each, len(each)
        noisy_kernel[(triton.cdiv(count, TILE), len(indices))](out, *given, *tensors, *weights, **shape)
    return out


def on(device: torch.device, rows: Sequence[float] | Sequence[list[int]]) -> Tensor:
    """A small table on the device, which nobody waits for."""
    table = torch.tensor(rows, dtype=torch.float64 if isinstance(rows[0], float) else torch.int64)
    return table.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else table


def normals(seed: int, indices: Tensor, shape: tuple[int, ...], stream: int, position: int) -> Tensor:
    """Standard normals (b, *shape), float32, of sample indices (b,) int64 on the device."""
    return Drawn(seed, indices, shape, ((1.0, stream, position),)).numbers


def words(seed: int, indices: Tensor, count: int, stream: int, position: int) -> Tensor:
    """The random 32-bit words (b, count) that the normals are made of, int64."""
    out = torch.empty(len(indices), count, dtype=torch.int64, device=indices.device)
    grid = (triton.cdiv(count, TILE), len(indices))
    word_kernel[grid](out, indices, count, *split(seed), stream << 24, *split(position), TILE=TILE)
    return out


def works() -> bool:
    """Whether the kernels, compiled for this GPU, give what the host gives."""
    x, index, draws = torch.linspace(-1, 1, 1000, device="cuda"), torch.tensor([7]), noise.increment_draws(0.3, 0.9)
    sums = torch.allclose(combine([(0.3, x.half()), (-2.0, x)]), 0.3 * x.half().float() - 2 * x, atol=1e-6)
    expected = 0.3 * noise.Noise(5, index, (1000,)).increment(0.3, 0.9) - 2 * x.double().cpu()
    found = combine([(-2.0, x[None]), (0.3, Drawn(5, index.cuda(), (1000,), draws))])
    return sums and torch.allclose(found.cpu().double(), expected, rtol=0, atol=1e-6)


def split(number: int) -> tuple[int, int]:
    """Its lower and upper 32 bits."""
    return number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF


@triton.jit  # type: ignore[untyped-decorator]
def added(total, place, inside, x0, x1, x2, x3, x4, x5, c0, c1, c2, c3, c4, c5, COUNT: tl.constexpr):  # type: ignore[no-untyped-def]
    """The total with the terms at these places."""
    if COUNT > 0:
        total += c0 * tl.load(x0 + place, mask=inside).to(tl.float32)
    if COUNT > 1:
        total += c1 * tl.load(x1 + place, mask=inside).to(tl.float32)
    if COUNT > 2:
        total += c2 * tl.load(x2 + place, mask=inside).to(tl.float32)
    if COUNT > 3:
        total += c3 * tl.load(x3 + place, mask=inside).to(tl.float32)
    if COUNT > 4:
        total += c4 * tl.load(x4 + place, mask=inside).to(tl.float32)
    if COUNT > 5:
        total += c5 * tl.load(x5 + place, mask=inside).to(tl.float32)
    return total


@triton.jit  # type: ignore[untyped-decorator]
def sum_kernel(  # type: ignore[no-untyped-def]
    out, size, x0, x1, x2, x3, x4, x5, c0, c1, c2, c3, c4, c5, COUNT: tl.constexpr, TILE: tl.constexpr
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    inside, zero = place < size, tl.zeros((TILE,), tl.float32)
    total = added(zero, place, inside, x0, x1, x2, x3, x4, x5, c0, c1, c2, c3, c4, c5, COUNT)
    tl.store(out + place, total, mask=inside)


@triton.jit
def philox(block, index, seed_low, seed_high, stream, low, high):  # type: ignore[no-untyped-def]
    """The four words of a block of a sample; Triton's own rounds are those of Salmon et al. 2011 too."""
    seed = seed_low.to(tl.uint64) | (seed_high.to(tl.uint64) << 32)
    zero = block * 0
    return tl.philox(
        seed, block + stream.to(tl.uint32), zero + low.to(tl.uint32), zero + high.to(tl.uint32), zero + index
    )


@triton.jit(do_not_specialize=VALUES)  # type: ignore[untyped-decorator]
def word_kernel(out, indices, count, seed_low, seed_high, stream, low, high, TILE: tl.constexpr):  # type: ignore[no-untyped-def]
    place, row = tl.program_id(0) * TILE + tl.arange(0, TILE), tl.program_id(1)
    index = tl.load(indices + row).to(tl.uint32)
    w0, w1, w2, w3 = philox((place // 4).to(tl.uint32), index, seed_low, seed_high, stream, low, high)
    lane = place % 4
    word = tl.where(lane < 2, tl.where(lane == 0, w0, w1), tl.where(lane == 2, w2, w3))
    tl.store(out + row.to(tl.int64) * count + place, word.to(tl.int64), mask=place < count)


@triton.jit
def normal(place, index, seed_low, seed_high, stream, low, high):  # type: ignore[no-untyped-def]
    """A sample's standard normals at these places, float64, by Box and Muller's transform."""
    w0, w1, w2, w3 = philox((place // 4).to(tl.uint32), index, seed_low, seed_high, stream, low, high)
    lane = place % 4
    radius = tl.sqrt(-2.0 * tl.log((tl.where(lane < 2, w0, w2).to(tl.float64) + 1.0) * SHARE))
    angle = tl.where(lane < 2, w1, w3).to(tl.float64) * TURN
    return radius * tl.where(lane % 2 == 0, tl.cos(angle), tl.sin(angle))


@triton.jit(do_not_specialize=["seed_low", "seed_high", "draws"])  # type: ignore[untyped-decorator]
def noisy_kernel(  # type: ignore[no-untyped-def]
    out, count, indices, seed_low, seed_high, table, weights, draws, x0, x1, x2, x3, x4, x5, c0, c1, c2, c3, c4, c5,
    COUNT: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    within, row = tl.program_id(0) * TILE + tl.arange(0, TILE), tl.program_id(1)
    index = tl.load(indices + row).to(tl.uint32)
    noise = tl.zeros((TILE,), tl.float64)
    for j in range(draws):
        stream, low, high = tl.load(table + 3 * j), tl.load(table + 3 * j + 1), tl.load(table + 3 * j + 2)
        noise += tl.load(weights + j) * normal(within, index, seed_low, seed_high, stream, low, high)
    place, inside = row.to(tl.int64) * count + within, within < count
    total = added(noise.to(tl.float32), place, inside, x0, x1, x2, x3, x4, x5, c0, c1, c2, c3, c4, c5, COUNT)
    tl.store(out + place, total, mask=inside)

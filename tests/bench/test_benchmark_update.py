"""The hot path under pytest-benchmark: what it computes is asserted, how long it takes is only recorded."""

import math

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from scorebench.reference_models.process import VP, Process
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.registry import find
from scorebench.solvers.update import combine

STEPS = 10


class Zero:
    """Data at the origin: D = 0, so that the flow is x ← (σ'/σ) x, which DPM-Solver++ takes exactly."""

    name = "zero"
    process: Process = VP()
    shape: tuple[int, ...] = (1, 8, 8)
    data: str | None = None

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.zeros_like(x)


def latents(batch: int) -> Tensor:
    return torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_combine(benchmark: BenchmarkFixture, count: int) -> None:
    terms = [(0.5 + k, latents(64) + k) for k in range(count)]
    benchmark.extra_info["tensors"] = count
    expected = torch.stack([c * x for c, x in terms]).sum(0)
    torch.testing.assert_close(benchmark(combine, *terms), expected, rtol=1e-14, atol=1e-14)


def test_ten_steps_of_dpmpp_2m(benchmark: BenchmarkFixture) -> None:
    model, info, x = Zero(), find("dpmpp-2m"), latents(64)
    p = model.process
    grid = make_grid("logsnr", p, STEPS, p.t_max, p.t_min)
    solution = benchmark(solve, model, info, grid, x)
    benchmark.extra_info["nfe"] = int(solution.count.evaluations.max())
    assert solution.count.evaluations.tolist() == [STEPS] * 64
    ratio = math.exp(float(torch.log(p.sigma(grid[-1])) - torch.log(p.sigma(grid[0]))))
    torch.testing.assert_close(solution.x, ratio * x, rtol=1e-12, atol=0)

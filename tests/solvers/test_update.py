"""The update: every way to compute it gives the numbers of the eager one, and memory that is taken again was free."""

import pytest
import torch
from torch import Tensor

from scorebench.solvers import fused, update
from scorebench.solvers.update import combine, eager

compiled = pytest.mark.skipif(not fused.available(), reason="numba is not installed")
SIZE = 70_001  # several blocks and a rest


def terms(count: int, dtype: torch.dtype, *shape: int) -> list[tuple[float, Tensor]]:
    generator = torch.Generator().manual_seed(count)
    draws = torch.randn(count, *(shape or (SIZE,)), generator=generator, dtype=torch.float64).to(dtype)
    return [(0.37 + 0.731 * (-1) ** n * n, draw) for n, draw in enumerate(draws)]


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 12])
def test_one_pass_gives_the_bits_of_the_eager_update(count: int, dtype: torch.dtype) -> None:
    given = terms(count, dtype)
    torch.testing.assert_close(fused.combine(given), eager(*given), rtol=0, atol=0)


@compiled
def test_threads_share_the_work_and_change_nothing() -> None:
    given = terms(3, torch.float32)
    torch.set_num_threads(2)
    try:
        out = fused.combine(given)
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(out, eager(*given), rtol=0, atol=0)


@compiled
def test_a_large_state_takes_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "FEWEST", SIZE)
    seen: list[int] = []
    monkeypatch.setattr(fused, "combine", lambda told: seen.append(len(told)) or eager(*told))
    given = terms(3, torch.float32)
    combine(*given, (0.0, torch.full((SIZE,), torch.nan)))
    combine(*[(c, x[:-1]) for c, x in given])
    assert seen == [3]


@pytest.mark.parametrize("change", ["stride", "gradient", "half", "nothing to add"])
def test_what_does_not_fit_is_added_eagerly(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "FEWEST", 1)
    monkeypatch.setattr(fused, "combine", None)
    given = terms(2, torch.float32, 60, 50)
    match change:
        case "stride":
            given = [(c, x.T) for c, x in given]
        case "gradient":
            given[1][1].requires_grad_()
        case "half":
            given = [(c, x.half()) for c, x in given]
        case _:
            given = [(0.0, x) for _, x in given]
    expected = sum(c * x for c, x in given)
    torch.testing.assert_close(combine(*given), expected, rtol=1e-3 if change == "half" else 1e-6, atol=1e-3)


def test_types_are_added_in_the_widest() -> None:
    (a, x), (b, y) = terms(2, torch.float64)
    expected = a * x.half().float() + b * y.float()
    for pair in ([(a, x.half()), (b, y.float())], [(b, y.float()), (a, x.half())]):
        assert combine(*pair).dtype is torch.float32
        torch.testing.assert_close(combine(*pair), expected)


def test_a_term_of_weight_zero_is_not_read() -> None:
    (a, x), (_, y) = terms(2, torch.float32)
    torch.testing.assert_close(combine((0.0, y * torch.inf), (a, x)), a * x)
    assert not combine((0.0, x)).any()


@compiled
def test_memory_is_taken_again_only_when_nobody_holds_it() -> None:
    given = terms(2, torch.float32)
    with fused.recycled():
        first, second = fused.combine(given), fused.combine(given)
        view, kept = first[10:20], second.clone()
        places = {first.data_ptr(), second.data_ptr()}
        del first
        third = fused.combine(given)
        assert third.data_ptr() not in places
        del view
        fourth = fused.combine([(2 * c, x) for c, x in given])
        assert fourth.data_ptr() in places - {second.data_ptr()}
    torch.testing.assert_close(second, kept, rtol=0, atol=0)
    assert fused.buffers.waiting is None


@compiled
def test_a_taken_buffer_is_written_whole() -> None:
    given = terms(3, torch.float64)
    with fused.recycled():
        fused.buffers.empty(given[0][1]).fill_(torch.nan)
        torch.testing.assert_close(fused.combine(given), update.eager(*given), rtol=0, atol=0)
        assert len(fused.buffers.waiting or []) == 1

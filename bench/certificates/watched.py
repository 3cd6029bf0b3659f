"""A tensor that remembers when the host read it: how a certificate sees that a solver's loop never waits for the device."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

READS = {
    getattr(Tensor, name)
    for name in "item tolist __bool__ __float__ __int__ __index__ cpu numpy __array__ nonzero is_nonzero".split()
}


class Watched(Tensor):
    """A tensor whose every descendant is watched too; `reads` collects what the host asked of any of them."""

    reads: list[str] = []  # noqa: RUF012  (shared on purpose: a descendant does not know its ancestor)
    paused = False

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in READS and not cls.paused:
            cls.reads.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


@contextmanager
def pause() -> Iterator[None]:
    """Inside, reads do not count: they are the model's, not the solver's."""
    before, Watched.paused = Watched.paused, True
    try:
        yield
    finally:
        Watched.paused = before


def watch(x: Tensor) -> Tensor:
    """x as a watched tensor, with the list of reads emptied."""
    Watched.reads = []
    return x.as_subclass(Watched)

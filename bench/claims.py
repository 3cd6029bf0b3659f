"""Who works on what: locks on single bytes of one file of the store, one byte a name.

The system frees a lock when the process that holds it dies, however it dies, so that nothing is ever left claimed.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

POLL = 0.2  # seconds between two looks at what another process holds
FACTS = "what reports need"  # the claim of who writes it
T = TypeVar("T")


class Claims:
    """The claims of this process on one file; one object a process and file, for closing any other would free them all."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.file = path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def take(self, name: str, shared: bool = False) -> bool:
        """Whether the name is this process's now, alone or shared; it is not while another has it."""
        try:
            fcntl.lockf(self.file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB, 1, _place(name))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def free(self, name: str) -> None:
        fcntl.lockf(self.file, fcntl.LOCK_UN, 1, _place(name))

    @contextmanager
    def hold(self, name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold a name, waiting until nobody else does; `waiting` is told at every look."""
        while not self.take(name):
            waiting()
            time.sleep(POLL)
        try:
            yield
        finally:
            self.free(name)

    def divide(self, work: Mapping[str, Callable[[], T]], waiting: Callable[[], None] = lambda: None) -> list[T]:
        """What each named piece of work gives, in order; those that another process has in hand come last, when it is done."""
        done: dict[str, T] = {}
        for name, give in work.items():
            if self.take(name):
                try:
                    done[name] = give()
                finally:
                    self.free(name)
        for name, give in work.items():
            if name not in done:
                with self.hold(name, waiting):
                    done[name] = give()
        return [done[name] for name in work]


def _place(name: str) -> int:
    """A byte below 2^60: no two names of a store share one in practice, and two that did would only wait for each other."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:15], 16)

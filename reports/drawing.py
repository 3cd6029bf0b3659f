"""Figures as the files of a report, drawn in a process of their own beside the rest of it, where the system can split one off."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection

from .figures import Picture


@dataclass(frozen=True)
class Drawn:
    """A picture as bytes: of the page, and by name those for print."""

    model: str
    file: str
    title: str
    caption: str
    alt: str
    explored: bool
    png: bytes
    printed: dict[str, bytes] = field(default_factory=dict)


def draw(picture: Picture, printed: bool) -> Drawn:
    """The picture's PNG, and with `printed` its files for print."""
    told = picture.title, picture.caption, picture.alt, picture.explored
    return Drawn(picture.model, picture.file, *told, picture.png, picture.printed() if printed else {})


def aside(make: Callable[[], list[Drawn]]) -> Callable[[], list[Drawn]]:
    """What `make` gives, when it is asked for; begun at once beside all else on Linux, where forking is safe, as a copy."""
    if sys.platform != "linux":
        return make
    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, make), daemon=True)
    process.start()
    theirs.close()

    def collect() -> list[Drawn]:
        try:
            return list(ours.recv())
        except EOFError:  # it could not, and here the error is seen
            return make()
        finally:
            process.join()

    return collect


def _send(pipe: Connection, make: Callable[[], list[Drawn]]) -> None:
    try:
        pipe.send(make())
    except Exception:
        pipe.close()

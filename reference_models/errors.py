"""Errors a person reads: one line that says what is wrong, where, and the nearest valid choice."""

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(ValueError):
    """Bad input; the command line prints the message alone and ends with exit code 2."""


def unknown(what: str, name: str, choices: Iterable[str]) -> UsageError:
    """The error for an unknown name: the nearest choice, or all of them when none is near."""
    choices = sorted(choices)
    near = get_close_matches(name, choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(choices)}"
    return UsageError(f"unknown {what} {name!r}: {hint}")

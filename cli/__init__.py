"""The command line: the only package that sees everything."""

import sys
from typing import NoReturn

import typer

from scorebench.reference_models.errors import UsageError

from . import certify, choose, compare, doctor, likelihood, models, run, store  # noqa: F401  (they register their commands)
from .shared import app

INTERRUPTED = 130


def _refuse(message: str) -> NoReturn:
    print(f"scorebench: {message}", file=sys.stderr)
    raise SystemExit(2) from None


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2."""
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # typer makes Ctrl-C an exit code
            raise KeyboardInterrupt
    except UsageError as error:
        _refuse(str(error))
    except (typer.Abort, KeyboardInterrupt):
        print("scorebench: interrupted; the same command continues where it stopped", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # how the parser of the command line says what is wrong
            raise
        _refuse(" ".join(error.format_message().split()))
    raise SystemExit(code if isinstance(code, int) else 0)

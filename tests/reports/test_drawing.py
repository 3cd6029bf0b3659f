"""Figures are drawn beside the rest of a report, and what goes wrong there is seen here."""

import os
import sys

import pytest

from scorebench.reference_models.errors import UsageError
from scorebench.reports.drawing import Drawn, aside


def picture() -> Drawn:
    return Drawn("m", "f.png", str(os.getpid()), "caption", "words", False, b"\x89PNG" * 100_000)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing forks")
def test_another_process_draws() -> None:
    collect = aside(lambda: [picture(), picture()])
    found = collect()
    assert len(found) == 2 and found[0] == found[1] and found[0].png == picture().png
    assert found[0].title != str(os.getpid())


def test_an_error_is_raised_where_the_pictures_are_asked_for() -> None:
    def fail() -> list[Drawn]:
        raise UsageError("no font here")

    collect = aside(fail)
    with pytest.raises(UsageError, match="no font here"):
        collect()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing forks")
def test_a_process_that_dies_costs_nothing_but_time() -> None:
    here = os.getpid()

    def die_elsewhere() -> list[Drawn]:
        if os.getpid() != here:
            os._exit(9)
        return [picture()]

    assert aside(die_elsewhere)() == [picture()]

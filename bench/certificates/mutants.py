"""Planted bugs: a method's source with one piece replaced, certified under the claims of the method itself."""

import importlib
import tomllib
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from scorebench.solvers import facts
from scorebench.solvers.facts import SOLVERS, SolverInfo

from .certificate import Certificate, certify

LIST = Path(__file__).with_name("mutants.toml")


@dataclass(frozen=True)
class Mutant:
    """What is replaced in which file of solvers/methods, and which certificate must see it."""

    id: str
    file: str
    about: str
    old: str
    new: str
    options: dict[str, Any]

    def info(self) -> SolverInfo:
        """The method with its bug and the claims of the original; ValueError where the source has no such piece."""
        original = SOLVERS[self.id]
        module = importlib.import_module(f"scorebench.solvers.methods.{self.file}")
        assert module.__file__ is not None
        source = Path(module.__file__).read_text()
        if source.count(self.old) < 1:
            raise ValueError(f"mutant {self.id}, {self.about}: solvers/methods/{self.file}.py has no {self.old!r}")
        broken = types.ModuleType(module.__name__)
        broken.__package__, broken.__file__ = module.__package__, module.__file__
        with patch.dict("sys.modules", {module.__name__: broken}), patch.dict(facts.SOLVERS, clear=True):
            with patch.dict(facts.ALIASES, clear=True):
                exec(compile(source.replace(self.old, self.new), module.__file__, "exec"), vars(broken))
                method = facts.SOLVERS[self.id].method
        return replace(original, method=method)


def mutants() -> list[Mutant]:
    """The committed list."""
    return [Mutant(**{"options": {}, **entry}) for entry in tomllib.loads(LIST.read_text())["mutant"]]


def hunt(wanted: list[Mutant]) -> Iterator[tuple[Mutant, Certificate]]:
    """The certificate of each mutant; a bug is caught when it has not passed."""
    for mutant in wanted:
        yield mutant, certify(mutant.info(), mutant.options)

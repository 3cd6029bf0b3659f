"""The entries of a suite: models, and solvers with their grids, options and endings."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PositiveInt

from scorebench.solvers.aliases import resolve

from .field_practice import is_peer


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _listed(grid: object) -> object:
    """A list of times as the text that names it."""
    return "t:" + ",".join(map(str, grid)) if isinstance(grid, list) else grid


Grid = Annotated[str, BeforeValidator(_listed)]


class ModelEntry(Strict):
    """A model's address, how many latents it is sampled from, and if it is costly what alone runs on it.

    That is those of the suite's solvers that `solvers_of`, a shipped suite, has too, and those of its budgets that are given.
    """

    address: str
    n: PositiveInt = 512
    solvers_of: str | None = None
    budgets: list[PositiveInt] = []


class Level(Strict):
    """What of a solver a level of a factor sets, or an entry itself: its grid (its own by default), options and ending.

    A grid is a name, with options as in `karras?rho=5`, or a list of times, which fixes the number of steps. `denoise`
    spends the last network call on D (by default where a model is compared with data), `euler_at_final` takes the last step
    with order 1.
    """

    grid: Grid | None = None
    options: dict[str, float | bool | str] = {}
    denoise: bool | None = None
    euler_at_final: bool = False


class SolverEntry(Level):
    """A solver with what it shall do; `ladder` lists options to run through instead of budgets.

    `levels` says for an analysis of variance what it stands for, by factor: { order = "2", prediction = "x0" }.
    """

    id: str
    ladder: list[dict[str, float | bool | str]] = []
    levels: dict[str, str] = {}

    def resolved(self) -> "SolverEntry":
        """The entry under its solver's id, with the grid and the options that its name stands for unless it has its own."""
        if is_peer(self.id):
            return self
        info, grid, options = resolve(self.id)
        return self.model_copy(
            update={"id": info.id, "grid": self.grid or grid, "options": {**options, **self.options}}
        )

    def at(self, factor: str, name: str, level: Level) -> "SolverEntry":
        """The entry at one level of a factor."""
        change: dict[str, Any] = {
            "levels": {**self.levels, factor: name},
            "options": {**self.options, **level.options},
            "grid": level.grid or self.grid,
            "denoise": self.denoise if level.denoise is None else level.denoise,
            "euler_at_final": level.euler_at_final or self.euler_at_final,
        }
        return self.model_copy(update=change)

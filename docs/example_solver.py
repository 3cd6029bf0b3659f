"""A solver of your own: `scorebench certify --plugin docs/example_solver.py`, then `scorebench run quick --plugin …`."""

from itertools import pairwise

from scorebench.solvers.facts import Reference, solver
from scorebench.solvers.update import combine


@solver("my-euler", order=1, grid="time_uniform", reference=Reference("You 2026", "My paper", "arXiv:0000.00000"))
def my_euler(problem, x, grid):
    """Euler's method in t: x' = x + (t' − t) v(x, t)."""
    times = grid.tolist()
    for t, t_next in pairwise(times):
        x = combine((1.0, x), (t_next - t, problem.velocity(x, t)))
        yield t_next, x

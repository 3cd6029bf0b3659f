"""UniPC: a multistep predictor and a corrector that uses the network call at the predicted point, in the data prediction.

With two or more differences the paper's coefficients solve a Vandermonde system whose solution is the interpolating
polynomial's integral, whatever B(h) is: the predictor is exponential Adams–Bashforth, the corrector exponential
Adams–Moulton. With one difference the paper puts ρ = ½, and there the variants of B(h) differ.
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.process import Process

from ..facts import Method, Reference, Step, solver
from ..multistep import DATA_LAM, before, lagrange
from ..problem import Problem
from ..update import combine

REFERENCE = Reference(
    "Zhao et al. 2023",
    "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models",
    "arXiv:2302.04867",
    "Alg. 5–8",
)


@lru_cache(maxsize=64)
def tables(
    p: Process, past: tuple[float, ...], times: tuple[float, ...], order: int, variant: str
) -> tuple[list[list[float]], list[list[float]]]:
    """The weights of D in x' − (σ'/σ) x, oldest first, of the predictor and of the corrector in each step."""
    if variant not in ("bh1", "bh2"):
        raise UsageError(f"unipc: variant must be bh1 or bh2, got {variant!r}")
    grid = torch.tensor(times, dtype=torch.float64)
    lam = p.lam(torch.tensor(past + times, dtype=torch.float64)).numpy()
    alpha, sigma = p.alpha(grid).tolist(), p.sigma(grid).tolist()
    points, mass = DATA_LAM.rule(p, grid)

    def weights(nodes: np.ndarray, now: int, n: int) -> list[float]:
        if len(nodes) != 2:
            exact: list[float] = (sigma[n + 1] * (lagrange(nodes, points[n]) @ mass[n])).tolist()
            return exact
        h = float(lam[len(past) + n + 1] - lam[len(past) + n])
        phi = -math.expm1(-h)
        w = 0.5 * (h if variant == "bh1" else phi) * h / float(nodes[1 - now] - nodes[now])  # ρ = ½ of (D_other − D)/r
        row = [alpha[n + 1] * (phi - w), alpha[n + 1] * w]
        return row if now == 0 else row[::-1]

    ends = range(len(past) + 1, len(past) + len(grid))
    predict = [weights(lam[max(0, end - order) : end], min(end, order) - 1, n) for n, end in enumerate(ends)]
    correct = [weights(lam[max(0, end - order) : end + 1], min(end, order) - 1, n) for n, end in enumerate(ends)]
    return predict, correct


def unipc(problem: Problem, x: Tensor, grid: Tensor, order: int, variant: str, corrector: bool) -> Iterator[Step]:
    """Predict x' with the last `order` values of D; with D at that point, correct x' and predict the next.

    There is no corrector in the last step, as it would cost a call more.
    """
    past, t, sigma = before(problem, order), grid.tolist(), problem.process.sigma(grid).tolist()
    kept = [b / a for a, b in pairwise(sigma)]
    predict, correct = tables(problem.process, tuple(at for at, _ in past), tuple(t), order, variant)
    history = [problem.denoise(x_before, t_before) for t_before, x_before in past]
    predicted = x
    for n in range(len(kept)):
        history = [*history[-order:], problem.denoise(predicted, t[n])]
        if n:
            if corrector:
                predicted = combine((kept[n - 1], x), *zip(correct[n - 1], history, strict=True))
            x = predicted
            yield t[n], x
        history = history[-order:]
        predicted = combine((kept[n], x), *zip(predict[n], history, strict=True))
    yield t[-1], predicted


def method(order: int, doc: str) -> Method:
    def steps(
        problem: Problem, x: Tensor, grid: Tensor, *, variant: str = "bh2", corrector: bool = True
    ) -> Iterator[Step]:
        return unipc(problem, x, grid, order, variant, corrector)

    steps.__doc__ = doc + (
        "\n\nWith `corrector` false it is UniP alone, of one order less. `variant` names B(h): h (bh1) or e^h − 1 (bh2)."
    )
    return steps


solver("unipc-1", order=2, reference=REFERENCE, calls_at="predicted")(
    method(1, "UniPC-1: DDIM as predictor, corrected by the mean of both ends' predictions of x0.")
)
solver("unipc-2", order=3, reference=REFERENCE, aliases=("UniPCMultistepScheduler",), calls_at="predicted")(
    method(2, "UniPC-2: the two-step predictor and the three-point corrector, of order 3.")
)
solver("unipc-3", order=4, reference=REFERENCE, calls_at="predicted")(
    method(
        3,
        "UniPC-3: the three-step predictor and the four-point corrector, of order 4. A cold start is of order 3 in theory, but "
        "its error is so small that 4 is measured to a thousand steps.",
    )
)

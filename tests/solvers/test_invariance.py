"""Methods that put noise in to take it out again keep p_t as their steps shrink: by quadrature, never by Monte Carlo.

One step from exact p_t of a mixture on the line, integrated over the state and every noise; whole runs on a Gaussian on
the line, where a method is affine in its start and its noises and so its result's law is known; and Langevin steps with
norms on an isotropic Gaussian in d dimensions, integrated over the two norms and the angle.
"""

import math
from typing import Any

import pytest
import torch
from scipy.special import gammaln
from torch import Tensor

from scorebench.bench.certificates.weak import SHRINKING, kept_order
from scorebench.reference_models.gaussian import Gaussian
from scorebench.reference_models.model import Model
from scorebench.reference_models.process import Process, make_process
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Count, Problem
from scorebench.solvers.registry import find

DOUBLE = torch.float64


class Prescribed(Noise):
    """Every draw is the one that is given (rows, *d)."""

    def __init__(self, draw: Tensor) -> None:
        super().__init__(0, torch.arange(len(draw)), tuple(draw.shape[1:]))
        self.draw = draw

    def increment(self, s_from: float, s_to: float) -> Tensor:
        return self.draw

    def independent(self, position: int) -> Tensor:
        return self.draw


def run(model: Model, id: str, x: Tensor, grid: Tensor, noise: Noise, options: dict[str, Any]) -> Tensor:
    problem = Problem(model, Count(torch.zeros(len(x), dtype=torch.int64)), noise)
    *_, (_, end) = find(id).method(problem, x, grid, **options)
    return end


def churn(p: Process, h: float) -> dict[str, Any]:
    """γ = 4h: the noise that is put in shrinks with the step."""
    return {"S_churn": 4 * h, "S_min": 0.0, "S_max": 1e9}


@pytest.mark.parametrize("options", [churn, lambda p, h: {"S_churn": 0.0}])
def test_churn_keeps_p_t(options: Any, process_name: str) -> None:
    """To Heun's own order: noise and the flow each carry p_t exactly to another p_t."""
    assert kept_order(find("edm-heun"), process_name, options) == pytest.approx(2, abs=0.2)


def test_inflated_noise_does_not(process_name: str) -> None:
    found = kept_order(find("edm-heun"), process_name, lambda p, h: churn(p, h) | {"S_noise": 1.1})
    assert found == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("K", [1.0, 2.0])
def test_restart_keeps_p_t(K: float, process_name: str) -> None:
    _, options = SHRINKING["restart"]
    found = kept_order(find("restart"), process_name, lambda p, h: options(p, h) | {"K": K})
    assert found == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("predictor", ["reverse_diffusion", "euler_maruyama", "ddpm"])
def test_predictor_corrector_keeps_p_t(predictor: str, process_name: str) -> None:
    """With δ in proportion to h, that is snr² ∝ h: to the order of each part, of which a coarse step shows too much."""
    found = kept_order(
        find("pc"),
        process_name,
        lambda p, h: {"predictor": predictor, "corrector": "ald", "snr": h**0.5},
        (0.00125, 0.000625),
    )
    assert found == pytest.approx(1, abs=0.2)


def test_langevin_steps_keep_p_t(process_name: str) -> None:
    assert kept_order(find("annealed-langevin"), process_name) == pytest.approx(1, abs=0.2)


def test_ddpm_with_the_large_variance_keeps_p_t(process_name: str) -> None:
    found = kept_order(find("ddpm"), process_name, lambda p, h: {"variance_type": "fixed_large"})
    assert found == pytest.approx(1, abs=0.2)


class Unit(Noise):
    """Draw k is 1 in row 2 + k and 0 elsewhere: the rows of a run are its response to nothing, to the start, to each draw."""

    def __init__(self, rows: int) -> None:
        super().__init__(0, torch.arange(rows), (1,))
        self.drawn: set[tuple[float, ...]] = set()

    def draw(self, *what: float) -> Tensor:
        assert what not in self.drawn  # each draw is a new one, so that they are independent
        self.drawn.add(what)
        out = torch.zeros(len(self.indices), 1, dtype=DOUBLE)
        out[1 + len(self.drawn)] = 1.0
        return out

    def increment(self, s_from: float, s_to: float) -> Tensor:
        return self.draw(s_from, s_to)

    def independent(self, position: int) -> Tensor:
        return self.draw(position)


def error_on_a_gaussian(id: str, name: str, steps: int, options: dict[str, Any]) -> float:
    """Relative error of mean and standard deviation at t_min after a whole run from exact p at t_max, both exact."""
    process = make_process(name)
    one = torch.ones(1, 1, dtype=DOUBLE)
    model = Gaussian(process, 0.7 * one[0], 0.25 * one[0], one)
    grid = make_grid("logsnr", process, steps, process.t_max, process.t_min)
    x = torch.zeros(2 + 3 * steps, 1, dtype=DOUBLE)
    x[1] = 1.0
    end = run(model, id, x, grid, Unit(len(x)), options)[:, 0]
    response = end[1:] - end[0]
    alpha, sigma = process.alpha(grid[[0, -1]]), process.sigma(grid[[0, -1]])
    mean, deviation = 0.7 * alpha, torch.sqrt(0.25 * alpha**2 + sigma**2)
    found = (
        float(end[0] + response[0] * mean[0]),
        float(((response[0] * deviation[0]) ** 2 + (response[1:] ** 2).sum()).sqrt()),
    )
    return max(abs(found[0] / float(mean[1]) - 1), abs(found[1] / float(deviation[1]) - 1))


@pytest.mark.parametrize(
    ("id", "options", "rate", "bound"),
    [
        ("edm-heun", lambda n: {}, 1.8, 5e-3),  # S_churn as published: γ = S_churn/n
        ("restart", lambda n: {"N_restart": float(n)}, 1.9, 5e-4),
        ("pc", lambda n: {"snr": n**-0.5, "corrector": "ald"}, 0.9, 0.03),
        (
            "annealed-langevin",
            lambda n: {"snr": 2 * n**-0.25},
            0.2,
            0.3,
        ),  # many small steps: x lags behind p_t, on flow as slowly as n^−0.22
    ],
)
def test_whole_runs_converge_to_the_exact_law(
    id: str, options: Any, rate: float, bound: float, process_name: str
) -> None:
    coarse, fine = (error_on_a_gaussian(id, process_name, n, options(n)) for n in (100, 200))
    assert fine < bound and math.log2(coarse / fine) > rate


def chi(d: int, n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights for the norm of a standard normal in d dimensions."""
    r = torch.linspace(max(1e-3, math.sqrt(d) - 8), math.sqrt(d) + 8, n, dtype=DOUBLE)
    log_density = (d - 1) * torch.log(r) - r**2 / 2 - (d / 2 - 1) * math.log(2) - float(gammaln(d / 2))
    return r, torch.exp(log_density) * float(r[1] - r[0])


@pytest.mark.parametrize("d", [8, 32, 128])
@pytest.mark.parametrize("id", ["pc", "annealed-langevin"])
def test_langevin_with_norms_moves_the_variance_as_its_card_says(id: str, d: int) -> None:
    """E‖x‖² of N(0, vI) grows by 1 + 16 a snr²/(d − 2) a step, and by (2a snr²)² as every Langevin step of that size does."""
    v, snr = 0.6, 0.1
    process = make_process("ve")
    grid = process.t_of_sigma_hat(torch.tensor([0.51, 0.5], dtype=DOUBLE))
    model = Gaussian(process, *(torch.full((d,), c, dtype=DOUBLE) for c in (0.0, v - 0.25)), torch.eye(d, dtype=DOUBLE))
    r, w = chi(d, 60)
    norms, weights = torch.cartesian_prod(r, r, torch.tensor([-0.6, 0.6]).double()), torch.cartesian_prod(w, w).prod(1)
    x, z = torch.zeros(len(norms), d, dtype=DOUBLE), torch.zeros(len(norms), d, dtype=DOUBLE)
    x[:, 0] = norms[:, 0] * math.sqrt(v)
    z[:, 0], z[:, 1] = norms[:, 1] * norms[:, 2], norms[:, 1] * 0.8  # ‖x'‖² is linear in the cosine, whose mean is 0
    if id == "pc":  # its Langevin step is at the first level; the step of the predictor has no length
        grid = grid[[1, 1]]
    end = run(model, id, x, grid, Prescribed(z), {"snr": snr, "corrector": "langevin"})
    growth = float((weights.repeat_interleave(2) * (end**2).sum(1)).sum() / 2) / (d * v) - 1
    q = 2 * snr**2
    assert growth == pytest.approx(8 * q / (d - 2) + q**2 * (d + 2) / (d - 2), rel=1e-6)

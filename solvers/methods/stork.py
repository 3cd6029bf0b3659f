"""STORK: stabilised Runge–Kutta methods whose stages see a Taylor polynomial of past predictions instead of the network.

Every stage is linear in x and in the predictions, so the fifty virtual stages run on their coefficients, before the loop.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from scorebench.reference_models.errors import UsageError
from scorebench.reference_models.process import Process

from ..facts import Reference, Step, solver
from ..multistep import before, lagrange, with_past
from ..problem import Problem
from ..update import combine

Slope = Callable[[int, np.ndarray], np.ndarray]  # (stage, y) to h · dy/dt
Scheme = Callable[[Slope, np.ndarray], np.ndarray]

REFERENCE = Reference(
    "Tan et al. 2026",
    "STORK: Faster Diffusion and Flow Matching Sampling by Resolving both Stiffness and Structure-Dependence",
    "arXiv:2505.24210",
)
POINTS, STAGES = 4, 50
# ROCK4 of degree 50 (Abdulle 2002, doi:10.1137/S1064827500379549): μ₁ and pairs (μ_j, κ_j) of the recurrence
RECURRENCE = """
    .001031010001534118 .001252325311246044 .007123010369617354 .001445699377070109 .03362780174930066
    .001614821702453833 .06808371387504374 .001763306316297053 .1052035845952689 .001894326321527065 .14241666536569
    .002010556629704488 .1784647514196653 .002114217175592618 .2127589198858749 .002207141797804957 .2450622274788554
    .00229084645322358 .2753249929535957 .002366588574329418 .3035961777269406 .002435416111636774 .3299745572968218
    .002498207136828419 .3545814616992661 .002555701517785104 .3775455317600242 .002608526182258946 .3989943047683779
    .002657215287010062 .4190497337604562 .002702226368977643 .4378259868084232 .002743953334055468 .4554285653702798
    .002782736954335406 .4719541760694932 .002818873396984337 .4874910203110806 .002852621192436532 .50211930217635
    .002884206960364913 .5159118365654818 .002913830143454304 .528934688975299 .00294166694680254 .5412478085861132
    .002967873641281116 .552905635159059 .002992589359741792 .5639576722484761 .003015938493650994 .5744490272864715
    .003038032783280771 .5844209250482745 .003058973186216636 .5939112061179864 .003078851606347056 .6029548271815797
    .003097752568780461 .6115843860580712 .003115754935792624 .6198307020754208 .003132933775825234 .6277234924693847
    .003149362522988406 .6352921987752219 .003165115600029473 .6425670346395947 .003180271725033977 .6495803491305275
    .003194918182718492 .6563684284758635 .003209156415539186 .662973894952955 .003223109375845204 .6694489043071365
    .003236931170179888 .6758593906225592 .003250819601641628 .682290654108561 .003265032236292007 .6888546193197504
    .003279906508904962 .6956990815908923 .003295884006098741 .7030191567938097 .003313538195666039 .7110708644516797
    .003333603169205194 .7201861618009667 .003356997989054186 .730787595368527 .003384836571738381 .7433987921789071
    .003418406731492194 .758644092307535 .003459095390889103 .7772269308571649
"""
FINISH_A = (
    -0.11754163240792,
    0.507340547092223,
    -0.282496164808253,
    -0.0217814864430309,
    -0.0086467012080964,
    0.480116952219068,
)
FINISH_B = (0.760653160327002, -0.334898139570366, -0.363899175365336, 0.612677301460611)


def rkg2(slope: Slope, y: np.ndarray) -> np.ndarray:
    """Runge–Kutta–Gegenbauer of order 2 (Skaras et al. 2021, doi:10.1016/j.jcp.2020.109879)."""
    s = STAGES
    b = [1.0, 1 / 3, *(4 * (j - 1) * (j + 4) / (3 * j * (j + 1) * (j + 2) * (j + 3)) for j in range(2, s + 1))]
    w = 6 / ((s + 4) * (s - 1))
    first = slope(0, y)
    start, last, y = y, y, y + w * first
    for j in range(2, s + 1):
        mu, nu = (2 * j + 1) * b[j] / (j * b[j - 1]), -(j + 1) * b[j] / (j * b[j - 2])
        gamma = -(1 - 0.5 * j * (j + 1) * b[j - 1])
        moved = mu * w * (slope(j - 1, y) + gamma * first)
        last, y = y, mu * y + nu * last + (1 - mu - nu) * start + moved
    return y


def rock4(slope: Slope, y: np.ndarray) -> np.ndarray:
    """ROCK4 (Abdulle 2002): a three-term recurrence of orthogonal polynomials, then four stages that make the order 4."""
    mu, *rest = map(float, RECURRENCE.split())
    last, y = y, y + mu * slope(0, y)
    for j, (mu, kappa) in enumerate(zip(rest[0::2], rest[1::2], strict=True), start=1):
        last, y = y, mu * slope(j, y) + (1 + kappa) * y - kappa * last
    a, b = FINISH_A, FINISH_B
    k1 = slope(STAGES, y)
    k2 = slope(STAGES + 1, y + a[0] * k1)
    k3 = slope(STAGES + 2, y + a[1] * k1 + a[2] * k2)
    k4 = slope(STAGES + 3, y + a[3] * k1 + a[4] * k2 + a[5] * k3)
    return y + b[0] * k1 + b[1] * k2 + b[2] * k3 + b[3] * k4


def abscissae(scheme: Scheme) -> np.ndarray:
    """c of each stage: where the stage comes to lie when the slope is 1."""
    c: list[float] = []

    def slope(j: int, y: np.ndarray) -> np.ndarray:
        c.append(float(y[0]))
        return np.ones(1)

    scheme(slope, np.zeros(1))
    return np.array(c)


def drift(p: Process, t: Tensor, velocity: bool) -> tuple[np.ndarray, np.ndarray]:
    """a and b of dx/dt = a x + b F: with F = ε they are f and g²/2σ; with F the velocity 0 and 1."""
    if velocity:
        return np.zeros(t.shape), np.ones(t.shape)
    return p.f(t).numpy(), (0.5 * p.g2(t) / p.sigma(t)).numpy()


def collapse(p: Process, grid: Tensor, nodes: list[np.ndarray], scheme: Scheme, velocity: bool) -> list[list[float]]:
    """Coefficients of x and of the predictions at the nodes, for one step of the scheme on each interval of the grid."""
    h = torch.diff(grid)[:, None]
    t = grid[:-1, None] + h * torch.from_numpy(abscissae(scheme))  # (n, stages)
    a, b = drift(p, t, velocity)
    force = np.zeros((*t.shape, 1 + POINTS))
    for n, known in enumerate(nodes):
        force[n, :, 1 : 1 + len(known)] = b[n, :, None] * lagrange(known, t[n].numpy()).T
    start = np.eye(1, 1 + POINTS).repeat(len(h), axis=0)
    end = scheme(lambda j, y: h.numpy() * (a[:, j, None] * y + force[:, j]), start)
    return [row[: 1 + len(known)].tolist() for row, known in zip(end, nodes, strict=True)]


def starting(p: Process, grid: Tensor, velocity: bool) -> tuple[float, list[list[float]]]:
    """The middle of the first step, and the coefficients of x and of the predictions there, for Euler and then two-step
    Adams–Bashforth."""
    t, h = torch.stack([grid[0], 0.5 * (grid[0] + grid[1])]), float(grid[1] - grid[0])
    (a0, a1), (b0, b1) = (each.tolist() for each in drift(p, t, velocity))
    euler = [1 + 0.5 * h * a0, 0.5 * h * b0]
    ahead = 1 + 0.75 * h * a1
    return float(t[1]), [euler, [ahead * euler[0] - 0.25 * h * a0, ahead * euler[1] - 0.25 * h * b0, 0.75 * h * b1]]


def stork(problem: Problem, x: Tensor, grid: Tensor, scheme: Scheme, prediction_type: str) -> Iterator[Step]:
    """x' = c x + Σ_j c_j F_j over the last four predictions; a cold start evaluates the first step's middle and end."""
    if prediction_type not in ("auto", "epsilon", "flow_prediction"):
        raise UsageError(f"stork: prediction_type must be auto, epsilon or flow_prediction, got {prediction_type!r}")
    p, past, t = problem.process, before(problem, POINTS), grid.tolist()
    velocity = prediction_type == "flow_prediction" or (prediction_type == "auto" and p.signal_form)
    predict = Problem.velocity if velocity else Problem.eps
    s = with_past(past, grid).numpy()
    ends = [len(past) + n + 1 for n in range(len(t) - 1)]
    middle, cold = starting(p, grid, velocity)
    if not past:
        s, ends = np.insert(s, 1, middle), [3, *(end + 1 for end in ends[1:])]
    table = collapse(p, grid, [s[max(0, end - POINTS) : end] for end in ends], scheme, velocity)
    history = [predict(problem, x_before, t_before) for t_before, x_before in past]
    for n, (kept, *weights) in enumerate(table):
        history = [*history[1 - POINTS :], predict(problem, x, t[n])]
        if not past and n == 0:
            for row, at in zip(cold, (middle, t[1]), strict=True):
                guess = combine((row[0], x), *zip(row[1:], history, strict=True))
                history.append(predict(problem, guess, at))
        x = combine((kept, x), *zip(weights, history, strict=True))
        if not past and n == 0:
            history.pop()  # the guess at the end gives way to a call where the step has come
        yield t[n + 1], x


@solver("stork-2", order=2, grid="time_uniform", reference=REFERENCE, extra_calls=2)
def stork_2(problem: Problem, x: Tensor, grid: Tensor, *, prediction_type: str = "auto") -> Iterator[Step]:
    """STORK-2: a Runge–Kutta–Gegenbauer step of 50 virtual stages on dx/dt = f x + (g²/2σ) ε, ε a cubic in t.

    The cubic passes through the last four calls; the first step evaluates its middle and its end too. By `prediction_type`
    ε is extrapolated (epsilon) or the velocity (flow_prediction); auto takes the velocity where α vanishes at t_max. The
    authors difference for equal steps, here it is for the steps as they are; and their code takes the stages' times from
    the Legendre family, which makes it of order 1.
    """
    return stork(problem, x, grid, rkg2, prediction_type)


@solver(
    "stork-4",
    order=4,
    self_started=3,
    grid="time_uniform",
    reference=REFERENCE,
    aliases=("STORKScheduler",),
    extra_calls=2,
)
def stork_4(problem: Problem, x: Tensor, grid: Tensor, *, prediction_type: str = "auto") -> Iterator[Step]:
    """STORK-4: a ROCK4 step of 54 virtual stages on dx/dt = f x + (g²/2σ) ε, ε a cubic in t through the last four calls.

    Start and `prediction_type` as for STORK-2. Where the velocity is extrapolated this is Adams–Bashforth 4 in t, as the
    virtual stages integrate a cubic exactly. The authors' code swaps the recurrence's first two states, so that its
    weights sum to 0.999 and it does not converge; here they are in order.
    """
    return stork(problem, x, grid, rock4, prediction_type)

# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Running it backwards: the reverse SDE and the probability-flow ODE
#
# A forward process destroys the data. Three facts, each checked below without a neural network, say how to undo that:
#
# 1. the reversal of a diffusion is a diffusion, with a drift that needs the score and nothing else;
# 2. there is an ODE without any noise that has the same density at every time;
# 3. between the two there is a dial $\eta$, and every position of it has the same densities:
#
# $$\mathrm{d}x = \left[f x - \tfrac12(1 + \eta^2)\, g^2 s(x, t)\right]\mathrm{d}t + \eta\, g\, \mathrm{d}\bar w .$$

# %%
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.linalg import solve_banded
from scipy.stats import kstest

from scorebench.reference_models.mixture import Mixture
from scorebench.reference_models.process import make_process
from scorebench.reports.style import COLOURS, FAINT, use_style
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.problem import Problem
from scorebench.solvers.registry import find

# %matplotlib inline
use_style()


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


process = make_process("vp")
model = Mixture(process, numbers(0.35, 0.65), numbers([-1.0], [0.8]), numbers(0.15, 0.25))
problem = Problem.of(model, 1)


def time(t):
    return torch.tensor(t, dtype=torch.float64)


# %% [markdown]
# ## Anderson's drift, by arithmetic
#
# Take a step of the forward process, $x_{t+h} = a\,x_t + \sqrt{v}\,z$, and ask where a particle that is at $y$ *now* was a step
# *before*. Its distribution has a mean and a variance that are exact: Tweedie's formula gives
# $\mathbb{E}[x_t \mid y] = (y + v\,s(y))/a$ and $\mathrm{Var} = v(1 + v\,s'(y))/a^2$. Anderson's reverse SDE claims, for a
# small
# step, the mean $y - h\,(f y - g^2 s)$ and the variance $g^2 h$. If the claim is right, both are wrong by
# $O(h^2)$ only. Half the score, as in the ODE, is wrong by $O(h)$, and so is a sign.

# %%
y = torch.linspace(-2.5, 2.5, 101, dtype=torch.float64)[:, None]
now = 0.4


def previous(h):
    """Exact mean and variance (101, 1) of x a step h before `now`, for particles that are at y now."""
    t, before = time(now), time(now - h)
    a = process.alpha(t) / process.alpha(before)
    v = process.sigma(t) ** 2 - a**2 * process.sigma(before) ** 2
    at = y.clone().requires_grad_()
    s = problem.score(at, now)
    (slope,) = torch.autograd.grad(s.sum(), at)
    return ((y + v * s) / a).detach(), v * (1 + v * slope) / a**2


def defects(h, factor):
    """Largest errors of mean and variance when the score is multiplied by factor · g²."""
    mean, variance = previous(h)
    f, g2 = process.f(time(now)), process.g2(time(now))
    claimed = y - h * (f * y - factor * g2 * problem.score(y, now))
    return float((claimed - mean).abs().max()), float((g2 * h - variance).abs().max())


steps = (0.004, 0.002, 0.001)
slopes = {}
for name, factor in (("Anderson: g² s", 1.0), ("half the score", 0.5), ("wrong sign", -1.0)):
    found = np.array([defects(h, factor) for h in steps])
    slopes[name] = np.log2(found[-2] / found[-1])
    print(
        f"{name:<15} error of the mean {found[:, 0]}, slope {slopes[name][0]:.2f}; variance, slope {slopes[name][1]:.2f}"
    )

# %% [markdown]
# ## Why the ODE has the same densities
#
# The density of particles that drift with $\mu$ and diffuse with $\tfrac12 k^2$ obeys the Fokker–Planck equation
#
# $$ \frac{\partial p}{\partial t} =
# -\frac{\partial}{\partial x}\left[\mu\, p - \tfrac12 k^2 \frac{\partial p}{\partial x}\right], $$
#
# and $\partial p/\partial x = s\,p$. So diffusion is a drift in disguise: $-\tfrac12 k^2 s$, the *effective drift*. With
# $\mu = f x$ and
# $k = g$ the bracket is $(f x - \tfrac12 g^2 s)\,p$, the flux of particles that move with the velocity
# of the probability-flow ODE and without noise. Adding noise $\eta g$ backwards in time and cancelling it by
# $\tfrac12\eta^2 g^2$
# more of the score changes nothing.
#
# To see the equation at work, we solve it by finite volumes: cells, fluxes through their walls, Crank and Nicolson's
# step in time. What leaves a cell enters its neighbour, so that mass is conserved to rounding.


# %%
def fokker_planck(density, edges, times, drift, diffusion):
    """Cell averages (n,) carried along `times` (increasing, of the equation) with drift μ(x, t) and diffusion ½k²(t)."""
    dx, n = edges[1] - edges[0], len(density)

    def operator(t):
        """Diagonals (3, n) of the divergence of the flux: lower, main and upper in the layout of solve_banded."""
        mu, k = drift(edges[1:-1], t) / 2, diffusion(t) / dx
        bands = np.zeros((3, n))
        bands[0, 1:] = -(mu - k) / dx  # what the right neighbour sends
        bands[1, :-1] -= (mu + k) / dx
        bands[1, 1:] += (mu - k) / dx
        bands[2, :-1] = (mu + k) / dx
        return bands

    for t, t_next in pairwise(times):
        bands, half = operator((t + t_next) / 2), (t_next - t) / 2
        moved = bands[1] * density
        moved[:-1] += bands[0, 1:] * density[1:]
        moved[1:] += bands[2, :-1] * density[:-1]
        implicit = -half * bands
        implicit[1] += 1
        density = solve_banded((1, 1), implicit, density + half * moved)
    return density


def cells(n, half=5.0):
    edges = np.linspace(-half, half, n + 1)
    return edges, (edges[1:] + edges[:-1]) / 2


def exact_density(x, t):
    return torch.exp(model.log_prob(torch.from_numpy(x)[:, None], time(t))).numpy()


START, END = 0.02, 0.6
f_of, g2_of = (lambda t: float(process.f(time(t)))), (lambda t: float(process.g2(time(t))))
forward_error = []
for n in (200, 400, 800):
    edges, centre = cells(n)
    run = fokker_planck(
        exact_density(centre, START), edges, np.linspace(START, END, n + 1),
        lambda x, t: f_of(t) * x, lambda t: g2_of(t) / 2,
    )  # fmt: skip
    forward_error.append(np.abs(run - exact_density(centre, END)).sum() * (edges[1] - edges[0]))
mass = run.sum() * (edges[1] - edges[0])
forward_order = np.log2(np.array(forward_error[:-1]) / np.array(forward_error[1:]))
print(
    f"∫|finite volumes − closed form| dx with 200, 400, 800 cells: {np.array(forward_error)}, orders {forward_order.round(2)}"
)

# %% [markdown]
# Particles tell the same story. Here 10,000 of them, moved by the forward SDE from the same start:

# %%
random = torch.Generator().manual_seed(0)
x = model.samples(10_000, random)
x = process.alpha(time(START)) * x + process.sigma(time(START)) * torch.randn(x.shape, generator=random, dtype=x.dtype)
clock = torch.linspace(START, END, 1601, dtype=torch.float64)
for t, h in zip(clock[:-1], torch.diff(clock), strict=True):
    x = x + process.f(t) * x * h + torch.sqrt(process.g2(t) * h) * torch.randn(x.shape, generator=random, dtype=x.dtype)
particles = x[:, 0].numpy()
cumulative = np.concatenate([[0], np.cumsum(run) * (edges[1] - edges[0])])
test = kstest(particles, lambda at: np.interp(at, edges, cumulative))
print(f"particles against finite volumes: Kolmogorov–Smirnov, p = {test.pvalue:.2f}")

# %% [markdown]
# ## The dial
#
# Now backwards, from $t = 1$ down to the data, with the library's Euler–Maruyama method and its option `eta`: 1,500 particles
# from the same latents at three positions of the dial. The densities agree, with each other and with the closed form; the
# paths have nothing in common but their starting points. Along a path, the sum of squared increments measures its noise: it
# is $\eta^2\int g^2\,\mathrm{d}t$.

# %%
DIALS, N, LOW = (0.0, 0.5, 1.0), 1500, 0.01
grid = make_grid("time_uniform", process, 800, 1.0, LOW)
noise = Noise(9, torch.arange(N), (1,))
latents, method = noise.latents(), find("euler-maruyama")
paths, roughness, ks = {}, {}, {}


def cdf(t):
    alpha, sigma = process.alpha(time(t)), process.sigma(time(t))
    centres, spread = alpha * model.means[:, 0], torch.sqrt((alpha * model.deviations) ** 2 + sigma**2)
    return lambda x: (model.weights * torch.special.ndtr((torch.tensor(x)[:, None] - centres) / spread)).sum(1).numpy()


for eta in DIALS:
    solution = solve(model, method, grid, latents, options={"eta": eta}, noise=noise, keep_path=True)
    paths[eta] = torch.stack([state[:, 0] for _, state in solution.path])
    roughness[eta] = float((torch.diff(paths[eta], dim=0) ** 2).sum(0).mean())
    looks = [int((grid - t).abs().argmin()) for t in (0.5, 0.2, LOW)]
    ks[eta] = [float(kstest(paths[eta][k].numpy(), cdf(float(grid[k]))).pvalue) for k in looks]
    print(f"η = {eta}: p-values at t = 0.5, 0.2, 0.01: {np.round(ks[eta], 2)}; squared increments {roughness[eta]:.2f}")
budget = float((process.g2(grid[:-1]) * -torch.diff(grid)).sum())
print(f"∫ g² dt = {budget:.2f}; times η² = {[round(eta**2 * budget, 2) for eta in DIALS]}")

# %% [markdown]
# What noise is good for shows when something is wrong. Start from the wrong density, here $\mathcal{N}(0.5, 1)$ instead of
# $\mathcal{N}(0, 1)$. The ODE is an invertible map, and carries the error along unchanged: the Kullback–Leibler divergence
# from the truth stays what it was. Noise forgets it, at the rate of the page before,
# $\tfrac12\eta^2 g^2\,\mathbb{E}|\nabla\log p - \nabla\log q|^2$. Finite volumes show it without sampling error:

# %%
edges, centre = cells(800)
dx = edges[1] - edges[0]
wrong = np.exp(-0.5 * (centre - 0.5) ** 2) / np.sqrt(2 * np.pi)
backward = np.linspace(0, 1 - 0.05, 1001)  # τ = 1 − t runs forwards


def divergence(q, t):
    p = exact_density(centre, t)
    seen = (p > 1e-12) & (q > 1e-12)
    return float((q[seen] * np.log(q[seen] / p[seen])).sum() * dx)


def carried(density, eta):
    """The density at t = 0.05 that starts at t = 1 and is run backwards with the dial at η."""

    def drift(x, tau):
        score = problem.score(torch.from_numpy(x)[:, None], 1 - tau)[:, 0].numpy()
        return -(f_of(1 - tau) * x - 0.5 * (1 + eta**2) * g2_of(1 - tau) * score)

    return fokker_planck(density, edges, backward, drift, lambda tau: eta**2 * g2_of(1 - tau) / 2)


before, ended, left, same = divergence(wrong, 1.0), {}, {}, {}
right = exact_density(centre, 1.0)
for eta in DIALS:
    same[eta] = float(np.abs(carried(right, eta) - exact_density(centre, 0.05)).sum() * dx)
    ended[eta] = carried(wrong, eta)
    left[eta] = divergence(ended[eta], 0.05)
    print(f"η = {eta}: right start, error at t = 0.05 {same[eta]:.1e}; wrong start, KL {before:.4f} → {left[eta]:.2e}")

# %% [markdown]
# ## The picture

# %% tags=["hide-input"]
figure = plt.figure(figsize=(10, 6.4), layout="constrained")
top, bottom = figure.subfigures(2, 1, height_ratios=(1.15, 1))
panels = top.subplots(1, 6, width_ratios=(3, 1) * 3, sharey=True)
shown = grid[::8]
height = torch.linspace(-2.6, 2.6, 300, dtype=torch.float64)
field = torch.stack([torch.exp(model.log_prob(height[:, None], t)) for t in shown], 1)
for k, eta in enumerate(DIALS):
    axis, side = panels[2 * k], panels[2 * k + 1]
    axis.pcolormesh(
        shown, height, field / field.max(0).values, cmap="Greys", vmax=1.5, shading="nearest", rasterized=True
    )
    for row, colour in zip((1, 5, 8, 13), COLOURS, strict=False):
        axis.plot(grid[::2], paths[eta][::2, row], lw=0.9, color=colour)
    axis.set(title=f"η = {eta:g}", xlabel="t", xlim=(1, 0), ylim=(-2.6, 2.6))
    side.hist(paths[eta][-1].numpy(), 40, density=True, orientation="horizontal", color=COLOURS[5], alpha=0.6)
    side.plot(exact_density(height.numpy(), LOW), height, color="black", lw=1)
    side.set(xticks=())
    axis.grid(False), side.grid(False)
panels[0].set_ylabel("x")
first, second = bottom.subplots(1, 2)
first.hist(particles, 60, density=True, color=COLOURS[5], alpha=0.5, label="particles")
first.plot(cells(800)[1], run, color=COLOURS[1], lw=3, label="finite volumes")
first.plot(height, exact_density(height.numpy(), END), color="black", lw=1, ls="--", label="closed form")
first.set(title=f"forward to t = {END}: three ways to one density", xlabel="x", ylabel="density", xlim=(-2.6, 2.6))
first.legend(frameon=False)
second.plot(centre, exact_density(centre, 0.05), color=FAINT, lw=4, alpha=0.5, label="truth")
for eta, colour in zip(DIALS, COLOURS, strict=False):
    second.plot(centre, ended[eta], color=colour, lw=1.2, label=f"η = {eta:g}")
second.set(title="backward from a wrong start", xlabel="x", xlim=(-2.6, 2.6))
second.legend(frameon=False)
plt.show()

# %% [markdown]
# *Above: four paths from the same four latents at three positions of the dial, over the closed-form density, with the histogram
# of all 1,500 at the end.* The paths change from smooth to rough, the densities do not change. *Below left: the particles, the
# finite volumes and the closed form are one curve. Below right: started too far to the right, the ODE puts too much weight
# on the
# right mode; the SDE has forgotten it.*
#
# ## Checks

# %%
assert np.all(abs(slopes["Anderson: g² s"] - 2) < 0.1), "mean and variance of the reverse step, to second order"
assert abs(slopes["half the score"][0] - 1) < 0.1 and abs(slopes["wrong sign"][0] - 1) < 0.1
assert np.all(abs(forward_order - 2) < 0.1) and abs(mass - 1) < 1e-8, "finite volumes: second order, mass kept"
assert test.pvalue > 0.01, "particles and finite volumes agree"
assert min(min(p) for p in ks.values()) > 0.01 / 9, (
    "every dial has the densities of the closed form (nine tests at 1 %)"
)
for eta in DIALS[1:]:
    assert abs(roughness[eta] / (eta**2 * budget) - 1) < 0.05, "squared increments are η² ∫ g² dt"
assert roughness[0.0] < 0.05
assert max(same.values()) < 2e-3, "every dial reverses the density"
assert abs(left[0.0] / before - 1) < 0.01 and left[1.0] < 0.02 * before and left[1.0] < left[0.5] < left[0.0]

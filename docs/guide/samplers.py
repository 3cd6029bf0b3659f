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
# # Samplers are integrators
#
# Once sampling is "solve this equation backwards", a sampler is no longer part of a model. It is a rule of numerical
# integration, and has what such rules have: an order, a cost, a region where it fails. The famous names are old
# acquaintances; this page puts them in their places and measures them with the certificates' own code.

# %%
from math import expm1

import matplotlib.pyplot as plt
import numpy as np
import torch

from scorebench.bench.certificates import orders
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.mixture import Mixture
from scorebench.reference_models.network import NetworkModel
from scorebench.reference_models.parameterisation import Parameterisation
from scorebench.reference_models.process import make_process
from scorebench.reports.style import INK, colour, marker, use_style
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.noise import Noise
from scorebench.solvers.registry import find

# %matplotlib inline
use_style()


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


model = load_model("exact:gmm")
process = model.process

# %% [markdown]
# ## DDPM is Euler–Maruyama, to leading order
#
# DDPM draws the previous state from the posterior $q(x' \mid x, x_0)$ with $x_0$ replaced by the prediction $D$. Euler and
# Maruyama know nothing of posteriors; they step the reverse SDE. Take one step of each from the same point with the same
# noise: both are affine in it, so that its mean and its noise can be compared apart. The means differ in the second
# order of the step, the standard deviations in the order $\tfrac32$: less than what either neglects.


# %%
class Constant(Noise):
    """Noise that is the same number everywhere."""

    def __init__(self, x, value):
        super().__init__(0, torch.arange(len(x)), tuple(x.shape[1:]))
        self.value = value * torch.ones_like(x)

    def increment(self, s_from, s_to):
        return self.value


def mean_and_std(id, x, h):
    """Mean (b, 2) and standard deviation of one step of length h from t = ½."""
    grid = numbers(0.5, 0.5 - h)
    quiet, loud = (solve(model, find(id), grid, x, noise=Constant(x, z)).x for z in (0.0, 1.0))
    return quiet, (loud - quiet)[0, 0]


x = Noise(0, torch.arange(64), (2,)).latents()
gaps = []
for h in (0.002, 0.001, 0.0005):
    (mean_a, std_a), (mean_b, std_b) = (mean_and_std(id, x, h) for id in ("ddpm", "euler-maruyama"))
    gaps.append((float((mean_a - mean_b).abs().max()), float((std_a - std_b).abs())))
ddpm_slopes = np.log2(np.array(gaps[:-1]) / np.array(gaps[1:]))
print(f"slopes of the difference: mean {ddpm_slopes[:, 0].round(2)}, standard deviation {ddpm_slopes[:, 1].round(2)}")

# %% [markdown]
# ## DDIM is exponential Euler, and Euler in σ/α, and Euler of a flow
#
# The linear part of the ODE, $f x$, is known; why approximate it? In $y = x/\alpha$ and $\hat\sigma = \sigma/\alpha$ it
# disappears: $\mathrm{d}y = \varepsilon\,\mathrm{d}\hat\sigma$, for every process. Four formulas from four papers, each a line:

# %%
grid = make_grid("karras", process, 8, process.t_max, process.t_min)
latents = Noise(0, torch.arange(256), (2,)).latents()
A, S, L = process.alpha(grid), process.sigma(grid), process.lam(grid)


def walk(step):
    x = latents
    for n in range(len(grid) - 1):
        d = model.denoise(x, grid[n])
        x = step(x, d, (x - A[n] * d) / S[n], n)
    return x


flow = load_model("exact:gmm?process=flow")
flow_grid = flow.process.t_of_sigma_hat(S / A)  # the same noise levels on a straight line from data to noise
flow_start = latents / A[0] * flow.process.alpha(flow_grid[0])
by_flow = solve(flow, find("euler-t"), flow_grid, flow_start).x / flow.process.alpha(flow_grid[-1]) * A[-1]
same = {
    "DDIM": walk(lambda x, d, eps, n: A[n + 1] * d + S[n + 1] * eps),
    "exponential Euler in λ": walk(
        lambda x, d, eps, n: S[n + 1] / S[n] * x - A[n + 1] * expm1(float(L[n] - L[n + 1])) * d
    ),
    "Euler in σ/α": walk(lambda x, d, eps, n: A[n + 1] * (x / A[n] + (S[n + 1] / A[n + 1] - S[n] / A[n]) * eps)),
    "Euler in t, of the flow": by_flow,
    "the library's ddim": solve(model, find("ddim"), grid, latents).x,
}
spread = max(float((x - same["DDIM"]).abs().max()) for x in same.values())
print(f"{len(same)} formulas, {len(grid) - 1} steps, largest difference {spread:.0e}")

# %% [markdown]
# The line of the flow deserves a second look. A flow-matching model that is sampled by Euler's method *is* DDIM: the change
# of process by itself gains nothing.
#
# ## Why straight paths need few steps
#
# Euler's method follows a tangent, and is exact on a straight path that is travelled at constant speed. A flow draws straight
# lines between data and noise, but only for a *single* data point are they the paths of its ODE: where many lines cross,
# the ODE
# averages them, and its paths bend. *Reflow* draws the lines again, now from each latent to the very sample that the ODE
# makes of
# it. On a line these never cross, so that the new ODE can be written down: its paths are straight, and one step is enough.


# %%
def line(name):
    return Mixture(make_process(name), numbers(0.35, 0.65), numbers([-0.8], [0.6]), numbers(0.15, 0.2))


def point(name):
    return Mixture(make_process(name), numbers(1.0), numbers([0.6]), numbers(0.0))


z = torch.linspace(-4, 4, 2001, dtype=torch.float64)[:, None]
FEW = (1, 2, 4, 8, 16)


def run(model, id, grid_name, steps):
    """Where the latents z end, relative to the process's own scale at the start."""
    p = model.process
    return solve(model, find(id), make_grid(grid_name, p, steps, p.t_max, p.t_min), z * p.prior_std).x


def euler_errors(model):
    """Mean distance, over standard normal latents, of Euler's method in t from the converged solution."""
    truth, weight = run(model, "heun", "karras", 400), torch.exp(-0.5 * z**2) / torch.exp(-0.5 * z**2).sum()
    return [float(((run(model, "euler-t", "time_uniform", n) - truth).abs() * weight).sum()) for n in FEW]


def reflow_errors(model):
    """The same of the straight ODE from z to the sample Φ(z) that the model's ODE makes of it."""
    here, there = z[:, 0].numpy(), run(model, "heun", "karras", 400)[:, 0].numpy()
    weight, errors = np.exp(-0.5 * here**2) / np.exp(-0.5 * here**2).sum(), []
    for n in FEW:
        x = here
        for t in np.linspace(1, 0, n + 1)[:-1]:
            latent = np.interp(x, (1 - t) * there + t * here, here)  # whose line goes through x at t
            x = x - (latent - np.interp(latent, here, there)) / n
        errors.append(float((abs(x - there) * weight).sum()))
    return errors


straight = {
    "VP, one point": euler_errors(point("vp")),
    "flow, one point": euler_errors(point("flow")),
    "VP, two modes": euler_errors(line("vp")),
    "flow, two modes": euler_errors(line("flow")),
    "reflow, two modes": reflow_errors(line("flow")),
}
print(f"mean error of Euler's method in t after {FEW} uniform steps")
for name, found in straight.items():
    print(f"{name:<18}", *(f"{error:<9.1e}" for error in found))

# %% [markdown]
# The straight lines of flow matching are thus a promise that reflow and distillation keep. On data with several modes Euler's
# method does not profit from the flow by itself.
#
# ## Orders, claimed and measured
#
# The certificates follow exact trajectories, and take the slope of each one's error between two grids. Exponential
# methods, Runge–Kutta methods and multistep methods differ in what a step costs, not in what order means:

# %%
METHODS = ("ddim", "heun", "dpm-solver-2", "dpmpp-2m", "dpm-solver-3", "dpmpp-3m", "exp-ab3", "rk4")
LADDER = (8, 16, 32, 64, 128)
errors, observed = {}, {}
with torch.no_grad():
    for id in METHODS:
        errors[id] = [float(np.median(orders.errors(find(id), "flow", "logsnr", n, True, {}))) for n in LADDER]
        observed[id] = orders.observe(find(id))
print("method         calls a step   claimed   measured, 95 % interval")
for id in METHODS:
    info, seen = find(id), observed[id]
    claimed = info.order if info.claimed is None else info.claimed
    print(f"{id:<14} {info.calls_per_step:<14} {claimed:<9} {seen.value:.2f} [{seen.low:.2f}, {seen.high:.2f}]")

# %% [markdown]
# One line stands out: third-order DPM-Solver++ claims 3 in its paper and is of order 2 as it is coded everywhere. A
# measurement finds that; reading does not. And what a step costs decides as much as its order. For the same number of network
# calls, a multistep method takes twice the steps of Heun's method:

# %%
advantage = errors["heun"][0] / errors["dpmpp-2m"][1]
print(f"both of order 2, both at 16 calls: dpmpp-2m is {advantage:.1f} times as accurate as heun")

# %% [markdown]
# DDPM took a thousand steps because its integrator was of first order, not because there are a thousand of anything. DDIM, of
# first order too but without noise, in a thousand calls, and a method of third order in sixteen, each started from nothing but
# the latent:

# %%
with torch.no_grad():
    patient, quick = (
        float(np.median(orders.errors(find(id), "flow", "logsnr", n, False, {})))
        for id, n in (("ddim", 1000), ("exp-ab3", 16))
    )
print(f"median error: ddim with 1,000 calls {patient:.1e}, exp-ab3 with 16 calls {quick:.1e}")

# %% [markdown]
# ## Correctors and Langevin steps
#
# A Langevin step, $x + \delta s + \sqrt{2\delta}\,z$, has no place in time at all. It leaves $p_t$ where it is and pulls a
# wrong density towards it. *Annealed Langevin dynamics* are such steps alone, at falling noise levels: without anything
# that moves the particles from one level to the next, the density lags behind. A *predictor–corrector* moves by a
# step of the SDE and repairs by Langevin, at two network calls a step. Distances on a line to the exact density, with that of
# exact samples as the floor:

# %%
target = line("vp")
N, t_end = 2000, torch.tensor(process.t_min, dtype=torch.float64)


def wasserstein(x):
    """W₁ between samples (n, 1) and p at t_min: the mean distance of order statistics and quantiles."""
    at = torch.linspace(-3, 3, 20001, dtype=torch.float64)[:, None]
    cumulative = torch.cumsum(torch.exp(target.log_prob(at, t_end)), 0)
    levels = (np.arange(len(x)) + 0.5) / len(x)
    quantiles = np.interp(levels, (cumulative / cumulative[-1]).numpy(), at[:, 0].numpy())
    return float(np.abs(np.sort(x[:, 0].numpy()) - quantiles).mean())


random = torch.Generator().manual_seed(0)
exact = [
    process.alpha(t_end) * target.samples(N, random)
    + process.sigma(t_end) * torch.randn(N, 1, generator=random, dtype=torch.float64)
    for _ in range(20)
]
floor = [wasserstein(each) for each in exact]
print(f"floor: {np.mean(floor):.4f}, at most {max(floor):.4f} in 20 draws")
far, calls = {}, (30, 60, 120)
for id, options in (
    ("ddim", {}), ("euler-maruyama", {}), ("ddpm", {}), ("reverse-diffusion", {}),
    ("pc", {"corrector": "ald", "snr": 0.3}), ("annealed-langevin", {}),
):  # fmt: skip
    info = find(id)
    for n in calls:
        steps = make_grid("logsnr", process, info.steps(n), process.t_max, process.t_min)
        noise = Noise(0, torch.arange(N), (1,))
        far[id, n] = wasserstein(solve(target, info, steps, noise.latents(), options=options, noise=noise).x)
    print(f"{id:<18} W₁ after {calls} network calls: {[round(far[id, n], 4) for n in calls]}")

# %% [markdown]
# With as many steps the predictor–corrector (its columns 60 and 120) beats its predictor alone (30 and 60). Whether a corrector
# is worth its calls is read down a column. The noise of DDPM, that of the posterior, needs fewer steps than Euler and
# Maruyama's; at 30 calls the deterministic DDIM leads, and from 60 on both are at the floor, where nothing can be ranked.

# %% [markdown]
# ## Classifier-free guidance
#
# A network that knows classes, and a label that stands for none, gives two fields. Guidance with scale $w$ follows
# $D_\varnothing + w\,(D_c - D_\varnothing)$, at two evaluations a call: $w = 1$ is the class itself, more exaggerates what
# sets it apart. Here the network is exact, two classes on a line, so that what guidance does can be told from what a network
# does wrong:


# %%
centres, widths, ABSENT = numbers([-0.7], [0.1], [0.5]), numbers(0.12, 0.2, 0.15), 2
classes = [
    Mixture(process, numbers(0.5, 0.5), centres[:2], widths[:2]),
    Mixture(process, numbers(1.0), centres[2:], widths[2:]),
    Mixture(process, numbers(0.25, 0.25, 0.5), centres, widths),
]


class Classes(torch.nn.Module):
    """The class-conditional network that training would find: x0 of x (b, 1) at t (b,) for labels 0, 1, or 2 for none."""

    def forward(self, x, t, class_labels, return_dict=False):
        return (torch.stack([each.denoise(x, t) for each in classes])[class_labels, torch.arange(len(x))],)


def guided(w):
    inputs = Parameterisation("x0", "none", "t")
    return NetworkModel("classes", Classes(), process, inputs, (1,), "", label=0, null=ABSENT, guidance=w)


def where(model, id, grid_name, steps):
    """Where the latents of N samples end."""
    times = make_grid(grid_name, process, steps, process.t_max, process.t_min)
    return solve(model, find(id), times, Noise(0, torch.arange(N), (1,)).latents())


N, SCALES, t_end = 2000, (1.0, 3.0, 7.5), torch.tensor(process.t_min, dtype=torch.float64)
at = torch.linspace(-2.5, 1.5, 8001, dtype=torch.float64)[:, None]
log_class, log_all = (classes[label].log_prob(at, t_end) for label in (0, ABSENT))
ends, tilted, spent, guided_errors = {}, {}, {}, {}
for w in SCALES:
    exact_end = where(guided(w), "heun", "karras", 200)
    ends[w], spent[w] = exact_end.x[:, 0].numpy(), int(exact_end.count.evaluations[0]) / exact_end.count.calls
    density = torch.exp(w * log_class + (1 - w) * log_all)
    tilted[w] = (density / density.sum() / (at[1, 0] - at[0, 0])).numpy()
    for id in ("ddim", "dpmpp-2m", "exp-ab3"):
        guided_errors[id, w] = float(
            (where(guided(w), id, "logsnr", 16).x[:, 0] - exact_end.x[:, 0]).square().mean().sqrt()
        )


def distance_to_tilted(w):
    """W₁ between the guided samples and the density p(x|c)^w p(x)^{1−w}."""
    share = np.cumsum(tilted[w]) / tilted[w].sum()
    return float(abs(np.sort(ends[w]) - np.interp((np.arange(N) + 0.5) / N, share, at[:, 0].numpy())).mean())


print(
    "scale   evaluations a call   left mode has   W₁ to p(x|c)^w p(x)^(1−w)   rms error at 16 calls: ddim, dpmpp-2m, exp-ab3"
)
for w in SCALES:
    left_share, rms = (ends[w] < -0.3).mean(), [guided_errors[id, w] for id in ("ddim", "dpmpp-2m", "exp-ab3")]
    print(
        f"{w:<7} {spent[w]:<20.0f} {left_share:<15.0%} {distance_to_tilted(w):<27.4f}",
        *(f"{error:<9.1e}" for error in rms),
    )

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained", sharex=True)
for axis, w in zip(axes, SCALES, strict=True):
    axis.hist(
        ends[w], 80, range=(-2, 1), density=True, color=colour("ddim"), alpha=0.45, label="where the guided ODE ends"
    )
    axis.plot(at[:, 0], tilted[w], color=INK, lw=1, label="p(x|c)ʷ p(x)¹⁻ʷ")
    axis.set(title=f"w = {w:g}", xlabel="x", xlim=(-2, 1), yticks=[])
axes[0].set_ylabel("density")
figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, fontsize=8.5, loc="outside lower center", ncols=2)
plt.show()

# %% [markdown]
# *Guidance does not sample what its formula seems to say.* At $w = 1$ the samples have the density of the class. Above, the
# usual explanation is that $p(x \mid c)^w\, p(x)^{1-w}$ is sampled; but the noised version of that density is not the product
# of the noised versions. The mode near the other class is lost, and the one that stays is pushed out to where the class has
# little data. For the integrator guidance is a rougher field: the multistep methods' errors grow, though what they have to hit
# becomes narrower.

# %% [markdown]
# ## The picture

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", sharey=True)
for id in METHODS:
    cost = np.array(LADDER) * find(id).calls_per_step
    for axis, x in ((left, np.array(LADDER)), (right, cost)):
        axis.loglog(x, errors[id], color=colour(id), marker=marker(id), ms=4, lw=1.2, label=id)
for order, id in enumerate(("ddim", "heun", "dpm-solver-3", "rk4"), start=1):
    x = np.array([40, 128])
    left.loglog(x, 2.5 * errors[id][-1] * (x[-1] / x) ** order, color=INK, lw=0.8, ls=":")
    left.annotate(f"slope {order}", (137, 2.5 * errors[id][-1]), va="center", fontsize=8.5)
for axis, title, label in (
    (left, "error against steps: slopes are orders", "steps"),
    (right, "error against cost", "network calls"),
):
    axis.set(title=title, xlabel=label)
    axis.set_xticks([8, 16, 32, 64, 128, 256, 512][: 5 if axis is left else 7])
    axis.xaxis.set_major_formatter("{x:.0f}")
    axis.minorticks_off()
left.set_ylabel("median error")
left.yaxis.set_major_formatter("{x:.0e}")
right.legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# *Left: the error of each method falls with the slope of its order. Right: the same errors against what they cost.* Methods
# with several calls a step move to the right: Heun's method and DPM-Solver-2 fall behind the multistep methods of their order.
# The fourth-order method pays for its four calls as soon as there is a budget for several steps.
#
# ## Checks

# %%
assert np.all(abs(ddpm_slopes[:, 0] - 2) < 0.1) and np.all(abs(ddpm_slopes[:, 1] - 1.5) < 0.1), "DDPM is Euler–Maruyama"
assert spread < 1e-11, "five formulas, one map"
assert straight["flow, one point"][0] < 1e-10 < 0.1 < straight["VP, one point"][0], "one step on a straight path"
assert straight["reflow, two modes"][0] < 1e-10 < 0.1 < straight["flow, two modes"][0], (
    "reflow makes the paths straight"
)
assert min(straight["flow, two modes"][2:]) > 0.5 * min(straight["VP, two modes"][2:]), (
    "the flow by itself is not straight"
)
for id in METHODS:
    assert abs(observed[id].value - find(id).order) < 0.2, f"{id} has its declared order, got {observed[id].value:.2f}"
assert find("dpmpp-3m").claimed == 3 and observed["dpmpp-3m"].value < 2.2
assert advantage > 2, "a multistep method gets more from its calls"
assert quick < patient, "sixteen calls of third order replace a thousand of first"
assert errors["rk4"][0] < errors["exp-ab3"][2], "both at 32 calls"
assert far["annealed-langevin", 30] > 2 * far["pc", 30], "Langevin steps alone lag behind"
for n in (30, 60):
    assert far["pc", 2 * n] < 0.95 * far["reverse-diffusion", n], "a corrector improves on its predictor's steps"
assert far["ddim", 30] < far["ddpm", 30] < far["euler-maruyama", 30]
assert max(far["ddim", 60], far["ddpm", 60]) < max(floor) < far["euler-maruyama", 120]
assert [spent[w] for w in SCALES] == [1, 2, 2], "both halves of guidance are counted"
assert distance_to_tilted(1.0) < 0.03 < 0.2 < distance_to_tilted(3.0) < distance_to_tilted(7.5)
assert (ends[1.0] < -0.3).mean() < 0.55 < 0.9 < (ends[3.0] < -0.3).mean(), "guidance loses a mode"
for id in ("dpmpp-2m", "exp-ab3"):
    assert guided_errors[id, 1.0] < guided_errors[id, 3.0] < guided_errors[id, 7.5], "guidance is harder to follow"

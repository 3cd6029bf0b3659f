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
# # Processes: how noise is added
#
# Nothing on this page is learned. A forward process turns data into noise by a rule that somebody chose,
#
# $$\mathrm{d}x = f(t)\,x\,\mathrm{d}t + g(t)\,\mathrm{d}w ,$$
#
# and everything that follows, training, sampling and likelihood, needs only two functions of it: what is left of the data,
# $\alpha(t)$, and how much noise there is, $\sigma(t)$, in $x_t \mid x_0 \sim \mathcal{N}(\alpha x_0, \sigma^2 I)$.

# %%
from itertools import pairwise
from math import exp

import matplotlib.pyplot as plt
import numpy as np
import pint
import torch
from scipy.integrate import quad
from scipy.stats import kstest

from scorebench.reference_models.discrete import DiscreteVP
from scorebench.reference_models.mixture import Mixture
from scorebench.reference_models.process import PROCESSES, make_process
from scorebench.reports.style import COLOURS, use_style
from scorebench.solvers.noise import Noise

# %matplotlib inline
use_style()
torch.set_default_dtype(torch.float64)
random = torch.Generator().manual_seed(0)

# %% [markdown]
# ## Why √dt
#
# Add $n$ independent kicks of size $h^p$ in one unit of time, $h = 1/n$. Their sum has the standard deviation
# $\sqrt{n}\,h^p = n^{1/2 - p}$. As the steps shrink it vanishes for $p > \tfrac12$ and explodes for $p < \tfrac12$: only
# kicks of size $\sqrt{h}$ have a limit that is neither. That limit is Brownian motion.

# %%
counts = np.array([10, 100, 1000])
powers = (0.25, 0.5, 1.0)
ends = {p: [float((torch.randn(4000, n, generator=random) * n**-p).sum(1).std()) for n in counts] for p in powers}
growth = {p: np.polyfit(np.log(counts), np.log(ends[p]), 1)[0] for p in powers}
for p in powers:
    print(f"kicks h^{p:<4}: std after 10, 100, 1000 steps {np.round(ends[p], 3)}, exponent {growth[p]:+.2f}")

# %% [markdown]
# The same kicks have another limit, which is what makes stochastic calculus differ from the ordinary one: the sum of their
# *squares* does not vanish. It tends to the time that has passed, without any randomness left.

# %%
squares = {n: (torch.randn(1000, n, generator=random) ** 2 / n).sum(1) for n in (10, 100, 10000)}
for n, s in squares.items():
    print(f"{n:>5} steps: sum of squares {float(s.mean()):.3f} ± {float(s.std()):.3f}")

# %% [markdown]
# ## Why Brownian motion and no other noise
#
# The kicks were normal here, but need not be: coin flips $\pm\sqrt{h}$ have the same limit, by the central limit theorem.
# Another limit is reached by kicks that become rarer instead of smaller, normal ones, each with probability $h$: the same
# variance, but a path that *jumps*. Its end is no Gaussian, however small the steps: the excess kurtosis, 0 of a Gaussian,
# stays near 3.


# %%
def excess_kurtosis(x):
    return float(((x - x.mean()) ** 4).mean() / x.var() ** 2 - 3)


def coins(n):
    return (2.0 * torch.randint(0, 2, (20_000, n), generator=random) - 1).sum(1) / n**0.5


def jumps(n):
    happens = torch.rand(20_000, n, generator=random) < 1 / n
    return (happens * torch.randn(20_000, n, generator=random)).sum(1)


kinds = {"coins": coins, "jumps": jumps}
kurtoses = {name: [excess_kurtosis(kicks(n)) for n in (10, 100, 1000)] for name, kicks in kinds.items()}
for name, values in kurtoses.items():
    print(f"{name}: excess kurtosis after 10, 100, 1000 steps {np.round(values, 2)}")

# %% [markdown]
# Brownian motion is the limit of all small independent kicks, and its increments are Gaussian. With a drift that is linear in
# $x$, as $f(t)\,x$ is, sums of Gaussians stay Gaussian: $x_t \mid x_0$ is known in closed form, and training draws it at any
# $t$ without simulating anything. Jumps or a crooked drift would be processes too, but their $x_t$ would have to be simulated,
# and what a network should learn from it would have no formula.
#
# A path must not depend on who looks at it. The library's {py:class}`~scorebench.solvers.noise.Noise` gives each sample
# *one* path, so that a solver with large steps and one with small steps see the same Brownian motion: one large increment
# is the sum of the small ones.

# %%
noise = Noise(seed=0, indices=torch.arange(5), shape=(2,))
clock = [0.25, 0.3, 0.45, 0.8, 1.0]
parts = sum((b - a) ** 0.5 * noise.increment(a, b) for a, b in pairwise(clock))
whole = (clock[-1] - clock[0]) ** 0.5 * noise.increment(clock[0], clock[-1])
print(f"largest difference of the two: {float((parts - whole).abs().max()):.0e}")

# %% [markdown]
# ## One Brownian motion per coordinate
#
# An image of $d$ pixels needs $d$ independent Brownian motions. One shared by all pixels would only change the
# brightness: the covariance of the noise would have rank 1, and its other directions would never be noised.

# %%
steps, d = 200, 3
own = (torch.randn(5000, steps, d, generator=random) / steps**0.5).sum(1)
shared = (torch.randn(5000, steps, 1, generator=random) / steps**0.5).sum(1).expand(-1, d)
spectra = {name: torch.linalg.eigvalsh(torch.cov(w.T)) for name, w in (("own", own), ("shared", shared))}
for name, values in spectra.items():
    print(f"{name:>6}: eigenvalues of the covariance {[round(abs(float(v)), 3) for v in values]}")

# %% [markdown]
# ## VP, sub-VP and VE, simulated
#
# Euler and Maruyama's method takes the equation at its word: a step of $f x\,\Delta t + g\sqrt{\Delta t}\,z$. Below, 10,000
# particles of a distribution with two narrow modes are carried through each process, and compared with the closed form,
# in which every mode stays a Gaussian.
#
# For VE there is a catch. Its $\sigma(t) = \sigma_{min}(\sigma_{max}/\sigma_{min})^t$ does not vanish at $t = 0$, so its
# marginals
# are those of particles that start from $x_0$ *plus* noise of $\sigma_{min}$. To start from $x_0$ itself is a mistake that the
# test below sees.

# %%
N, STEPS, LOOK = 10_000, 1000, (0.05, 0.3, 1.0)


def two_modes(process):
    weights, means, deviations = torch.tensor([0.35, 0.65]), torch.tensor([[-1.0], [0.8]]), torch.tensor([0.005, 0.01])
    return Mixture(process, weights, means, deviations)


def simulate(process, x, start):
    """Euler and Maruyama's method from t = start to 1, uniform steps; the states after each, (STEPS + 1, N)."""
    path, times = [x], torch.linspace(start, 1, STEPS + 1)
    for t, t_next in pairwise(times):
        dt = t_next - t
        x = x + process.f(t) * x * dt + torch.sqrt(process.g2(t) * dt) * torch.randn(len(x), generator=random)
        path.append(x)
    return times, torch.stack(path)


def cdf(model, t):
    """The closed-form distribution function of p_t."""
    alpha, sigma = model.process.alpha(t), model.process.sigma(t)
    centres, spread = alpha * model.means[:, 0], torch.sqrt((alpha * model.deviations) ** 2 + sigma**2)
    return lambda x: (model.weights * torch.special.ndtr((torch.tensor(x)[:, None] - centres) / spread)).sum(1).numpy()


runs, p_values = {}, {}
for name in ("vp", "subvp", "ve", "ve, from x₀ alone"):
    model = two_modes(make_process(name.split(",")[0]))
    x = model.samples(N, random)[:, 0]
    if name == "ve":
        x = x + model.process.sigma_min * torch.randn(N, generator=random)
    times, path = simulate(model.process, x, 0.0)
    runs[name] = model, times, path
    rows = [int(t * STEPS) for t in LOOK]
    p_values[name] = [float(kstest(path[row].numpy(), cdf(model, times[row])).pvalue) for row in rows]
    print(f"{name:>18}: p-values of Kolmogorov–Smirnov at t = {LOOK}: {[f'{p:.2g}' for p in p_values[name]]}")

# %% [markdown]
# The particles of the three processes cannot be told from the closed form; those of VE without its starting noise can, until
# later noise has buried the difference.
#
# How large is the error of the simulation itself? Its mean and variance obey a recursion without any randomness, and so its
# distance to the closed form is known exactly: it halves with the step.

# %%
process = make_process("vp")


def variance_error(n):
    """|variance of Euler–Maruyama − σ²| at t = 0.3, from a fixed x_0, in n steps."""
    variance, times = torch.tensor(0.0), torch.linspace(0, 0.3, n + 1)
    for t, dt in zip(times[:-1], torch.diff(times), strict=True):
        variance = (1 + process.f(t) * dt) ** 2 * variance + process.g2(t) * dt
    return float(abs(variance - process.sigma(times[-1]) ** 2))


refined = np.array([variance_error(n) for n in (100, 200, 400, 800)])
orders = np.log2(refined[:-1] / refined[1:])
print(f"error of the variance in 100, 200, 400, 800 steps: {refined}, orders {orders.round(2)}")

# %% [markdown]
# ## What f and g decide
#
# $\alpha$ and $\sigma$ follow from $f$ and $g$ by two integrals, $\log\alpha = \int f\,\mathrm{d}t$ and
# $\sigma^2 = \alpha^2\int g^2/\alpha^2\,\mathrm{d}t$. So a process is chosen by its marginals first, and $f$ and $g$ are
# read off.
# The pair enters samplers only through $\lambda = \log(\alpha/\sigma)$, half the log signal-to-noise ratio, which falls
# at the rate $g^2/2\sigma^2$. Quadrature agrees with the library for all of its processes:


# %%
def at(function, t):
    return float(function(torch.tensor(t)))


def by_quadrature(p, low, high):
    """Changes of log α, σ̂² and λ between two times, from f and g alone."""
    integrands = (
        lambda t: at(p.f, t),
        lambda t: at(p.g2, t) / at(p.alpha, t) ** 2,
        lambda t: -at(p.g2, t) / (2 * at(p.sigma, t) ** 2),
    )
    return [quad(each, low, high, epsabs=0, epsrel=1e-11, limit=200)[0] for each in integrands]


worst = 0.0
print("process   α at both ends      σ at both ends      λ at both ends")
for name in PROCESSES:
    p = make_process(name)
    low, high = p.t_min, 0.5 * (p.t_min + p.t_max)
    log_alpha, grown, fallen = by_quadrature(p, low, high)
    worst = max(
        worst,
        abs(log_alpha - at(p.log_alpha, high) + at(p.log_alpha, low)),
        abs(grown / (at(p.sigma_hat, high) ** 2 - at(p.sigma_hat, low) ** 2) - 1),
        abs(fallen - at(p.lam, high) + at(p.lam, low)),
    )
    ends_of = [f"{at(g, p.t_min):8.4g} → {at(g, p.t_max):<8.4g}" for g in (p.alpha, p.sigma, p.lam)]
    print(f"{name:<7}", *ends_of)
print(f"largest difference between quadrature and closed form: {worst:.0e}")

# %% [markdown]
# None of this depends on the data: $f$ and $g$ are chosen, once for all data. What is wanted of the choice is that the data are
# whole at one end, λ large, and lost at the other, λ small, where a Gaussian is left that is known without them.
#
# - **VP** keeps $\alpha^2 + \sigma^2 = 1$: data of variance 1 keep it, and the network's input needs no scaling.
# - **Sub-VP** has the same $\alpha$ with less noise at every time before the end, $\sigma = 1 - \alpha^2$.
# - **VE** leaves the data where they are and adds noise until they are lost in it.
# - **EDM** is VE with $\sigma$ itself as the clock, and the **flow** a straight line between data and noise.
#
# A constant $\beta = 1$ makes VP the plainest of all, $f = -\tfrac12$ and $g = 1$. Then $\alpha(\tfrac12) = e^{-1/4}$:

# %%
plain = make_process("vp", beta_min=1.0, beta_max=1.0)
retention, noise_std = at(plain.alpha, 0.5), at(plain.sigma, 0.5)
print(f"retention α(½) = {retention:.4f}, noise σ(½) = {noise_std:.4f}")

# %% [markdown]
# ## Units
#
# Measure data in metres and time in seconds: a formula is wrong when its two sides have different units, or when it adds
# metres to seconds. Noise $\varepsilon$ and $\alpha$ are pure numbers, $w$ has the unit $\sqrt{s}$, since its variance
# *is* a time. Here are the formulas of this guide, mistakes that are easily made in them, and formulas that hold for scaled
# data only:

# %%
unit = pint.UnitRegistry()
X, T = unit.metre, unit.second
x, x0, D, sigma = (value * X for value in (0.7, 0.4, 0.5, 0.6))
dt, w, t = 0.01 * T, 0.1 * T**0.5, 0.5 * T
f, g, alpha, eps, eta = -0.5 / T, 0.8 * X / T**0.5, 0.8, 0.3, 0.5
score, density = (alpha * D - x) / sigma**2, 0.2 / X
v, slope_p, curve_p, one = f * x - g**2 * score / 2, 0.1 / X**2, 0.1 / X**3, 1 * unit.dimensionless
formulas = {
    "dx = f x dt + g dw": lambda: (x, f * x * dt + g * w),
    "x = αx₀ + σε": lambda: (x, alpha * x0 + sigma * eps),
    "f = d log α / dt": lambda: (f, -0.1 * one / dt),
    "g² = dσ²/dt − 2fσ²": lambda: (g**2, sigma**2 / t - 2 * f * sigma**2),
    "dλ/dt = −g²/2σ²": lambda: (one / t, g**2 / (2 * sigma**2)),
    "s = −ε/σ": lambda: (score, -eps / sigma),
    "s = (αD − x)/σ²": lambda: (1 / X, (alpha * D - x) / sigma**2),
    "D = (x − σε)/α": lambda: (D, (x - sigma * eps) / alpha),
    "dx = [f x − ½(1+η²) g² s] dt + η g dw̄": lambda: (x, (f * x - (1 + eta**2) * g**2 * score / 2) * dt + eta * g * w),
    "v = f x − ½ g² s": lambda: (x / t, v),
    "∂p/∂t = −∂(f x p) + ½ g² ∂²p": lambda: (density / t, -f * density - f * x * slope_p + g**2 * curve_p / 2),
    "d log p / dt = −∂v/∂x": lambda: (one / t, f - g**2 * (score / X) / 2),
    "Tweedie: D = (x + σ² s)/α": lambda: (D, (x + sigma**2 * score) / alpha),
    "x = e^h x − α(e^h − 1) D": lambda: (x, exp(0.1) * x - alpha * (exp(0.1) - 1) * D),
    "d(x/α) = ε d(σ/α)": lambda: (x / alpha, eps * sigma / alpha),
    "dKL/dt = −½ g² E|Δs|²": lambda: (one / t, -(g**2) * score**2 / 2),
    "q = d − α tr ∂D/∂x": lambda: (one, 2 * one - alpha * (D / x)),
    "guidance: D + w (D' − D)": lambda: (D, D + 3 * (x0 - D)),
    "Langevin: x + δ s + √(2δ) z": lambda: (x, x + 0.01 * sigma**2 * score + (0.02 * sigma**2) ** 0.5 * eps),
}
mistakes = {
    "noise g dt instead of g √dt": lambda: (x, f * x * dt + g * dt),
    "s = −ε/σ²": lambda: (score, -eps / sigma**2),
    "σ² forgotten in D = (x + σ² s)/α": lambda: (D, (x + score) / alpha),
    "g instead of g² in the drift": lambda: (x, (f * x - g * score) * dt),
    "Langevin with √δ s": lambda: (x, x + (0.01 * sigma**2) ** 0.5 * score),
}
scaled = {
    "α² + σ² = 1": lambda: (one, alpha**2 + sigma**2),
    "v-prediction αε − σx₀": lambda: (one, alpha * eps - sigma * x0),
    "flow velocity ε − x₀": lambda: (one, eps - x0),
    "g² = β": lambda: (g**2, 1 / T),
}


def consistent(formula):
    """Whether both sides of a formula have one unit."""
    try:
        left, right = formula()
        return (left - right).check(left.dimensionality)
    except pint.DimensionalityError:
        return False


groups = {"formulas": formulas, "mistakes": mistakes, "formulas that presume data of unit scale": scaled}
agreeing = {title: sum(map(consistent, group.values())) for title, group in groups.items()}
for title, group in groups.items():
    print(f"{title}: {agreeing[title]} of {len(group)} consistent")

# %% [markdown]
# The last group is instructive. These formulas are not wrong; they presume that $x$ has been divided by a length scale of the
# data, so that X = 1. That is why VP, v-prediction and flows are used on data that have been scaled to about unit
# variance, while VE and EDM can do without.
#
# ## The DDPM chain is one way to step VP
#
# DDPM was published as a chain of 1,000 steps, $x' = \sqrt{1 - \beta_k}\,x + \sqrt{\beta_k}\,z$. With
# $\beta_k = \beta(t_k)\,\Delta t$
# the noise is that of Euler and Maruyama's step, and $\sqrt{1 - \beta_k}$ differs from its $1 - \tfrac12\beta_k$ only in the
# second order, by $\beta_k^2/8$:

# %%
beta = np.array([0.2, 0.1, 0.05, 0.025])
gap = 1 - beta / 2 - np.sqrt(1 - beta)
per_step = np.diff(np.log(gap)) / np.diff(np.log(beta))
print(f"gap / (β²/8): {(gap / (beta**2 / 8)).round(3)}, slopes {per_step.round(2)}")

# %% [markdown]
# Refine the chain, 1,000 → ∞: the retention $\bar\alpha_N = \prod(1 - \beta_k)$ tends to $\alpha^2(1)$, with an error
# that falls as $1/N$. The thousand steps were never the object: the process is.

# %%
sizes = np.array([10**k for k in (3, 4, 5, 6)])


def retention_of_chain(n):
    """The product of 1 − β_k over a chain of n steps between the published ends of β."""
    k = np.arange(n) / (n - 1)
    return np.exp(np.log1p(-(0.1 + k * 19.9) / n).sum())


limit = at(process.alpha, 1.0) ** 2
chain = np.array([retention_of_chain(n) for n in sizes])
refinement = np.diff(np.log(abs(chain / limit - 1))) / np.diff(np.log(sizes))
table = DiscreteVP.of(torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0))
print("ᾱ of the chain:", *(f"{value:.4e} (N = {n:,})" for n, value in zip(sizes, chain, strict=True)))
print(f"its limit α²(1): {limit:.4e}")
print(f"slopes of the error in N: {refinement.round(2)}")
print(f"β of the published table: {0.1 / 1000:.0e} … {20 / 1000:.2f}; λ at its end {at(table.lam, 999.0):.3f}")

# %% [markdown]
# NCSN, the other lineage, was published as a ladder of noise levels, $x' = x + \sqrt{\sigma_{k+1}^2 - \sigma_k^2}\,z$. That is
# VE, exactly: a rung has the variance that VE gains between two times. Its Euler–Maruyama step, $g^2\,\Delta t$, differs in the
# second order once more:

# %%
ve = make_process("ve")
rungs = np.array([0.02, 0.01, 0.005, 0.0025])
missed = np.array([at(ve.sigma, 0.5 + h) ** 2 - at(ve.sigma, 0.5) ** 2 - at(ve.g2, 0.5) * h for h in rungs])
per_rung = np.diff(np.log(missed)) / np.diff(np.log(rungs))
print(f"variance of a rung less g² Δt: {missed.round(4)}, slopes {per_rung.round(2)}")

# %% [markdown]
# ## The picture

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
for axis, name, title in zip(axes, ("vp", "subvp", "ve"), ("VP", "sub-VP", "VE"), strict=False):
    model, times, path = runs[name]
    half, end = (4.0, 0.6) if name == "ve" else (3.2, 1.0)
    shown = times[: int(end * STEPS) + 1 : STEPS // 100]
    height = torch.linspace(-half, half, 300)
    fields = [torch.exp(model.log_prob(height[:, None], t)) for t in shown]
    density = torch.stack(fields, 1) / torch.stack(fields, 1).max(0).values
    axis.pcolormesh(shown, height, density, cmap="Greys", vmax=1.3, shading="nearest", rasterized=True)
    axis.grid(False)
    for side in range(2):
        for k in (path[0] * model.means[side, 0] > 0).nonzero()[:3, 0]:
            axis.plot(times[::4], path[::4, k], lw=0.8, color=COLOURS[side])
    axis.set(title=title, xlabel="t", ylim=(-half, half), xlim=(0, end))
axes[0].set_ylabel("x")
for name, colour in zip(("vp", "subvp", "ve", "flow"), COLOURS[2:], strict=False):
    p = make_process(name)
    shown = torch.linspace(p.t_min, p.t_max, 400)
    axes[3].plot(shown, p.lam(shown), lw=1.4, color=colour, label=name)
axes[3].set(title="λ, half the log SNR", xlabel="t", xlim=(0, 1))
axes[3].legend(frameon=False)
plt.show()

# %% [markdown]
# *Shading: the closed-form density, each time scaled to its own maximum. Lines: simulated particles, coloured by the mode
# that they came from.* VP and sub-VP shrink both modes into one Gaussian of unit size, sub-VP with less noise on the way; VE
# (shown for the first part of its time) leaves the modes in place and drowns them. *Right:* λ falls from the data to the
# noise in every process, at a pace that is the choice of $f$ and $g$.
#
# ## Checks

# %%
for p in powers:
    assert abs(growth[p] - (0.5 - p)) < 0.02, "the sum of kicks grows as n^(1/2 − p)"
assert abs(float(squares[10000].mean()) - 1) < 0.003 and float(squares[10000].std()) < 0.02
assert abs(kurtoses["coins"][-1]) < 0.2 < 2.5 < kurtoses["jumps"][-1], "coins are forgotten, jumps are not"
assert float((parts - whole).abs().max()) < 1e-12, "one path, whatever the steps"
assert float(spectra["own"].min()) > 0.9 and abs(float(spectra["shared"][1])) < 1e-12 < float(spectra["shared"][2])
assert min(min(p_values[name]) for name in ("vp", "subvp", "ve")) > 0.01, "simulation and closed form agree"
assert p_values["ve, from x₀ alone"][0] < 1e-6, "VE without its starting noise is seen"
assert np.all(abs(orders - 1) < 0.1), "the variance of Euler–Maruyama is of first order"
assert worst < 1e-8, "α, σ and λ follow from f and g"
assert abs(retention - 0.7788) < 5e-5 and abs(noise_std - 0.6273) < 5e-5
assert abs(at(process.alpha, 0.5) ** 2 + at(process.sigma, 0.5) ** 2 - 1) < 1e-15
assert list(agreeing.values()) == [len(formulas), 0, 0], "units of the formulas, and of mistakes"
assert np.all(abs(per_step - 2) < 0.1) and np.all(abs(gap / (beta**2 / 8) - 1) < 0.15), "O(β²) a step"
assert np.all(abs(per_rung - 2) < 0.1), "the ladder of NCSN is VE up to the second order of a step"
assert np.all(abs(refinement + 1) < 0.05), "the chain tends to VP as 1/N"
assert abs(table.lam(torch.tensor(999.0)) - 0.5 * np.log(chain[0] / (1 - chain[0]))) < 1e-9, "the published table"

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
# # Likelihood and latent codes
#
# The probability-flow ODE is deterministic, and so it is a bijection: every image has one code at the noisy end, and every
# code one image. Two things follow. The density of an image is that of its code, corrected for how the flow stretches
# space on the way; and images can be edited as codes. This page computes one step by hand, then densities, then codes.

# %%
from itertools import pairwise
from math import exp, log, sqrt

import matplotlib.pyplot as plt
import numpy as np
import torch

from scorebench.bench.references import images, latents
from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.datasets import DATASETS
from scorebench.reference_models.process import make_process
from scorebench.reports.style import INK, colour, use_style
from scorebench.solvers.drive import solve
from scorebench.solvers.grids import make_grid
from scorebench.solvers.latent_codes import decode, encode, round_trip, slerp
from scorebench.solvers.likelihood import log_likelihood
from scorebench.solvers.registry import find
from scorebench.solvers.trace import Trace

# %matplotlib inline
use_style()


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


# %% [markdown]
# ## One step, line by line
#
# Take the VP process with drift $-\tfrac12 x$ and $g = 1$, that is $\beta = 1$. At $t = \tfrac12$ a network that sees
# $x = 1.2$ says $\varepsilon = 0.8$. What does the probability-flow ODE do next?

# %%
x, eps, t, h = 1.2, 0.8, 0.5, 0.05
retention = exp(-0.5 * t)  # α = exp(−½ ∫β)
variance = 1 - retention**2
sigma = sqrt(variance)
score = -eps / sigma
slope = -0.5 * x - 0.5 * score  # f x − ½ g² s
print(f"retention α = {retention:.4f}, variance of the noise σ² = {variance:.4f}, σ = {sigma:.4f}")
print(f"score −ε/σ = {score:.4f}")
print(f"dx/dt = {-0.5 * x:.1f} + {-0.5 * score:.4f} = {slope:.4f}")
print(
    f"a step of {h} backwards changes x by {-h * slope:.5f}, to {x - h * slope:.4f}; {1 / h:.0f} of them lead from 1 to 0"
)
by_digits = -0.5 * x - 0.5 * -1.27
print(f"with the score cut to −1.27: dx/dt = {by_digits:.3f}, {1 - by_digits / slope:.0%} less")

# %% [markdown]
# The slope is the small difference of two large numbers, so that it feels what is cut off the score. And a score is as exact as
# the network's $\varepsilon$ divided by $\sigma$.
#
# The library's process and its sampler `euler-t` do the same. So do the scores that belong to $\varepsilon = 0.6$ at three
# times: the same prediction means a steeper score where there is less noise.

# %%
process = make_process("vp", beta_min=1.0, beta_max=1.0)


class Says:
    """A model in one dimension whose noise prediction is a constant."""

    def __init__(self, eps):
        self.name, self.process, self.shape, self.data, self.eps = "a constant", process, (1,), None, eps

    def denoise(self, x, t):
        return (x - process.sigma(t) * self.eps) / process.alpha(t)


end = solve(Says(eps), find("euler-t"), numbers(t, t - h), numbers(x)[:, None]).x.item()
quarters = numbers(0.25, 0.5, 0.75)
scores = (-0.6 / process.sigma(quarters)).tolist()
deviations = process.sigma(quarters).tolist()
print(
    f"euler-t: {end:.4f}; at t = ¼, ½, ¾: σ",
    *(f"{s:.4f}" for s in deviations),
    "and scores",
    *(f"{s:.2f}" for s in scores),
)

# %% [markdown]
# ## How density changes along the flow
#
# A flow $\dot x = v(x, t)$ carries density with it: $\frac{d}{dt} \log p_t(x_t) = -\operatorname{tr} \partial v/\partial x$,
# the instantaneous change of variables. Follow one image from data to noise, add up the divergence, and add the density of
# the code, which is nearly normal. Here by plain Euler steps in $t$ on a two-dimensional mixture, whose density is known.

# %%
model = load_model("exact:gmm")
p = model.process
points = model.samples(200, torch.Generator().manual_seed(0))


def by_hand(steps):
    """log p at t_min of the points, by Euler steps of the state and of the divergence."""
    x, total = points.clone(), torch.zeros(len(points), dtype=torch.float64)
    times = make_grid("time_uniform", p, steps, p.t_min_likelihood, p.t_max)
    for a, b in pairwise(times):
        alpha, var, g2 = p.alpha(a), p.sigma(a) ** 2, p.g2(a)
        trace = model.denoise_trace(x, a)
        divergence = 2 * (p.f(a) + 0.5 * g2 / var) - 0.5 * g2 * alpha / var * trace
        velocity = (p.f(a) + 0.5 * g2 / var) * x - 0.5 * g2 * alpha / var * model.denoise(x, a)
        x, total = x + (b - a) * velocity, total + (b - a) * divergence
    prior = torch.distributions.Normal(0.0, p.prior_std)
    return total + prior.log_prob(x).sum(1)


truth = model.log_prob(points, numbers(p.t_min_likelihood)[0])
coarse = {steps: float((by_hand(steps) - truth).abs().mean()) for steps in (250, 1000, 4000)}
for steps, error in coarse.items():
    print(f"{steps:5d} Euler steps: mean error {error:.3f} nats")

# %% [markdown]
# That is slow, because near the data $1/\sigma^2$ is large. Take out what is known: with $\lambda = \log(\alpha/\sigma)$ only
# $q = d - \alpha \operatorname{tr} \partial D/\partial x$ has to be integrated over λ, and it is smooth. So *any* sampler gives
# a likelihood: it walks as it always does, and $q$ is integrated by a spline through its own points.

# %%
calls = (9, 17, 33, 65)
ladder = {}
for id in ("euler-t", "ddim", "exp-ab3"):
    ladder[id] = []
    for n in calls:
        grid = make_grid("logsnr", p, n - 1, p.t_min_likelihood, p.t_max)
        result = log_likelihood(model, find(id), grid, points)
        ladder[id].append(float((result.log_p - truth).abs().mean()))
    print(f"{id:8s} " + ", ".join(f"{n} calls: {e:.4f}" for n, e in zip(calls, ladder[id], strict=True)) + " nats")

# %% [markdown]
# Where has the determinant gone that a change of variables has? It is there: the trace, added up along the way, *is* the log
# determinant of the whole map from the image to its code. In two dimensions that map can be differentiated by hand, at four
# more solutions a point:

# %%
way = make_grid("logsnr", p, 256, p.t_min_likelihood, p.t_max)


def code(x):
    return encode(model, find("exp-ab3"), way, x).x


shifts = 1e-4 * torch.eye(2, dtype=torch.float64)
jacobian = torch.stack([(code(points + shift) - code(points - shift)) / 2e-4 for shift in shifts], 2)
prior = torch.distributions.Normal(0.0, p.prior_std).log_prob(code(points)).sum(1)
by_determinant = prior + torch.linalg.slogdet(jacobian)[1]
by_trace = log_likelihood(model, find("exp-ab3"), way, points).log_p
apart = float((by_determinant - by_trace).abs().mean())
print(f"log p by the determinant and by the trace: {apart:.1e} nats apart")

# %% [markdown]
# ## The trace, without the Jacobian
#
# A network has no closed form for $\operatorname{tr} \partial D/\partial x$. Hutchinson's estimator takes random signs $z$ and
# computes $z^\top (\partial D/\partial x) z$ by one backward pass: right on average, and with an error that falls as
# $1/\sqrt{k}$ over $k$ probes. On the shipped digits network, whose Jacobian is small enough to be had whole:

# %%
network = load_model("digits-vp").to(torch.float64)
time = numbers(0.4)[0]
noisy = network.process.alpha(time) * images(network, 8, 0, torch.float64)
noisy = noisy + network.process.sigma(time) * latents(network, 8, 0, torch.float64)


def traced(trace):
    vectors = trace.vectors(torch.arange(len(noisy)), network.shape)
    return trace(lambda at: network.denoise(at, time), noisy, vectors)[1]


exact = traced(Trace("exact"))
spread = {}
for k in (1, 4, 16, 64):
    runs = torch.stack([traced(Trace("rademacher", k, seed)) for seed in range(12)])
    spread[k] = float((runs - exact).pow(2).mean().sqrt())
    print(f"{k:3d} probes: error {spread[k]:.3f} of a trace of {float(exact.mean()):.2f}")
decay = -np.polyfit(np.log(list(spread)), np.log(list(spread.values())), 1)[0]
print(f"the error falls as k^−{decay:.2f}")

# %% [markdown]
# Signs are not the only probes. Normal ones are unbiased too, but their lengths vary, which adds to the error; Hutch++
# spends a third of its products on finding the directions in which the Jacobian is large, and takes the trace there exactly:

# %%
kinds = {}
for kind in ("gaussian", "rademacher", "hutch++"):
    runs = torch.stack([traced(Trace(kind, 48, seed)) for seed in range(12)])
    kinds[kind] = float((runs - exact).pow(2).mean().sqrt())
    print(f"48 products, {kind:<10}: error {kinds[kind]:.3f}")

# %% [markdown]
# ## Bits per dimension
#
# Images are integers, and a density of integers is an infinite spike. So uniform noise is added within each level: the
# density of the result, averaged over a level, is a probability. In bits per dimension a level of width $w$ adds
# $-\log_2 w$: for 256 levels on $[-1, 1]$ that is $\log_2 128 = 7$, the "7 bits" of the literature; the digits have 17 levels.

# %%
data = DATASETS["digits"]
offset = -data.log_bin / log(2)
pictures = images(network, 8, 0, torch.float64)
q = network.process
grid = make_grid("logsnr", q, 40, q.t_min_likelihood, q.t_max)
nats = log_likelihood(network, find("exp-ab3"), grid, pictures, trace=Trace("rademacher", 1, 0)).log_p
bits = -nats / (64 * log(2)) + offset
print(f"offset of 256 levels on [−1, 1]: {log(128) / log(2):.0f} bits, of the digits' 17 levels: {offset:.2f} bits")
print("bits per dimension of eight digits: " + ", ".join(f"{b:.2f}" for b in bits.tolist()))

# %% [markdown]
# ## Encode, interpolate, decode
#
# A code is an image carried to noise. Decoded by the same solver it comes back, with an error that falls with the solver's
# order; that is how DDIM "inverts" an image, and why it needs many steps to do so. With very few steps a high order is worse
# than a low one: it trusts a past that is too far away.

# %%
trips = {}
for id in ("ddim", "exp-ab3"):
    trips[id] = []
    for n in (10, 25, 50):
        way = make_grid("logsnr", q, n // 2, q.t_min_likelihood, q.t_max)
        trips[id].append(float(round_trip(network, find(id), way, pictures).error.median()))
    print(f"{id:8s} median error of a round trip in 10, 25, 50 calls: " + ", ".join(f"{e:.2g}" for e in trips[id]))

# %% [markdown]
# Between two codes lies a path of codes. The straight one passes where no code ever is: in many dimensions codes lie near a
# sphere, and the middle of a chord is too short. Spherical interpolation stays on it.

# %%
way = make_grid("logsnr", q, 40, q.t_min_likelihood, q.t_max)
codes = encode(network, find("exp-ab3"), way, pictures).x
one, other = divmod(
    int(torch.cdist(pictures.flatten(1), pictures.flatten(1)).argmax()), len(pictures)
)  # the most unlike
first, last = codes[one], codes[other]
shares = np.linspace(0, 1, 9)
round_path = torch.stack([slerp(first, last, share) for share in shares])
chord = torch.stack([(1 - share) * first + share * last for share in shares])
lengths = [float(path[4].norm() / first.norm()) for path in (round_path, chord)]
print(f"length of the middle code against the first: on the sphere {lengths[0]:.2f}, on the chord {lengths[1]:.2f}")
decoded = [decode(network, find("exp-ab3"), way.flip(0), path).x for path in (round_path, chord)]
mixed = torch.stack([(1 - share) * pictures[one] + share * pictures[other] for share in shares])

# %% [markdown]
# ## The picture

# %% tags=["hide-input"]
figure = plt.figure(figsize=(9, 7.2), layout="constrained")
top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1])
left, right = top.subplots(1, 2)
for id in ladder:
    left.loglog(calls, ladder[id], "o-", color=colour(id), label=id)
left.set(title="log p of a mixture", xlabel="network calls", ylabel="mean error, nats")
left.set_xticks(calls, [str(n) for n in calls])
left.minorticks_off()
left.yaxis.set_major_formatter("{x:.0e}")
left.legend(frameon=False)
right.loglog(list(spread), list(spread.values()), "o", color=INK, label="measured")
ideal = [spread[1] / sqrt(k) for k in spread]
right.loglog(list(spread), ideal, "--", color=INK, alpha=0.5, label="1/√k")
right.set(title="the trace, by probes", xlabel="probes", ylabel="error of the trace")
right.set_xticks(list(spread), [str(k) for k in spread])
right.set_yticks([0.3, 1.0, 3.0], ["0.3", "1", "3"])
right.minorticks_off()
right.legend(frameon=False)
rows = (("codes on the sphere", decoded[0]), ("codes on the chord", decoded[1]), ("pixels mixed", mixed))
for number, (name, row) in enumerate(rows):
    axis = bottom.add_subplot(3, 1, number + 1)
    axis.imshow(torch.cat(list(row[:, 0]), 1).clamp(-1, 1), cmap="gray", vmin=-1, vmax=1)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(name, loc="left", fontsize=9)
plt.show()

# %% [markdown]
# *Above: any sampler gives a likelihood, with the order that it samples with, and the trace of a network is had by probes.
# Below: between the codes of two digits lie digits; between their pixels lies a double exposure.*
#
# ## Checks

# %%
assert abs(retention - 0.7788) < 1e-4 and abs(sigma - 0.6273) < 1e-4 and abs(score + 1.2754) < 1e-4
assert abs(slope - 0.0377) < 1e-4 and abs(x - h * slope - 1.1981) < 1e-4 and abs(end - 1.1981) < 1e-4
assert abs(variance - 0.3935) < 1e-4 and np.allclose(deviations, [0.4703, 0.6273, 0.7264], atol=5e-5)
assert round(by_digits, 3) == 0.035 and round(1 - by_digits / slope, 2) == 0.07, "a score cut to two digits"
assert np.allclose(scores, [-1.28, -0.96, -0.83], atol=0.005), "a steeper score where there is less noise"
assert coarse[250] > 2 * coarse[1000] > 4 * coarse[4000], "Euler's divergence converges slowly"
assert ladder["exp-ab3"][2] < coarse[250] and ladder["exp-ab3"][3] < coarse[1000], "an order replaces hundreds of steps"
assert ladder["exp-ab3"][3] < 0.1 * ladder["ddim"][3], "the order of the sampler is that of its likelihood"
assert apart < 1e-3, "the sum of traces is the log determinant"
assert kinds["hutch++"] < kinds["rademacher"] < kinds["gaussian"], "what a probe is matters"
assert 0.35 < decay < 0.65, "Hutchinson's error falls as one over the root of the number of probes"
assert abs(offset - log(17 / 2) / log(2)) < 1e-9 and 0 < float(bits.min()), "bits of integers are positive"
assert trips["exp-ab3"][2] < 0.1 * trips["ddim"][2], "a higher order inverts better"
assert trips["exp-ab3"][0] > trips["ddim"][0], "but not with five steps each way"
assert abs(lengths[0] - 1) < 0.1 and lengths[1] < 0.85, "a chord leaves the sphere"

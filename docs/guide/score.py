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
# # The score: what is learned
#
# Of everything that is needed to run a process backwards only one object is unknown, the score
# $s(x, t) = \nabla\log p_t(x)$. It is the same object as the noise $\varepsilon$ that a network predicts, as the clean
# data $D = \mathbb{E}[x_0 \mid x_t]$ that it predicts, and as their combination $v$. This page learns all four from
# samples, apart,
# on data whose exact score is known.

# %%
from inspect import getsource
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.mixture import Mixture
from scorebench.reference_models.parameterisation import from_x0, to_x0
from scorebench.reference_models.process import make_process
from scorebench.reports.style import COLOURS, FAINT, use_style

# %matplotlib inline
use_style()
torch.set_num_threads(1)  # networks as small as these gain nothing from a second
truth = load_model("exact:gmm")
process = truth.process
KINDS = ("epsilon", "x0", "v", "score")
print(f"{truth.name}: {len(truth.weights)} Gaussians in the plane, process {process.name}")

# %% [markdown]
# ## Why denoising teaches the score
#
# The score of $p_t$ is an average over all the data that may have become $x$:
# $s(x, t) = \mathbb{E}[\,-\varepsilon/\sigma \mid x_t = x\,]$. The noise of a *single* pair $(x_0, x_t)$ is known, because
# we drew it;
# least squares on it converges to its conditional mean, which is the score. To see that without any network: the two have the
# same inner product with every function of $x$.

# %%
random = torch.Generator().manual_seed(1)


def draw(n, t, dtype=torch.float64):
    """n pairs of noise and noised data at times t () or (n,): x, ε (n, 2), and α, σ as columns."""
    t = torch.as_tensor(t, dtype=torch.float64)
    alpha, sigma = (c.expand(n).reshape(n, 1) for c in (process.alpha(t), process.sigma(t)))
    eps = torch.randn(n, 2, generator=random, dtype=torch.float64)
    x = alpha * truth.samples(n, random) + sigma * eps
    return tuple(each.to(dtype) for each in (x, eps, alpha, sigma))


def exact_eps(x, t):
    """The exact ε = −σ s at one time."""
    t = torch.as_tensor(t, dtype=torch.float64)
    return (x - process.alpha(t) * truth.denoise(x, t)) / process.sigma(t)


tests = {
    "1": lambda x: torch.ones(len(x), 1),
    "x": lambda x: x,
    "x²": lambda x: x**2,
    "sin 3x": lambda x: torch.sin(3 * x),
    "e^−|x|²": lambda x: torch.exp(-(x**2).sum(1, keepdim=True)),
}
z_scores = []
x, eps, _, _ = draw(200_000, 0.2)
for name, h in tests.items():
    gap = (h(x) * (eps - exact_eps(x, 0.2))).sum(1)
    z_scores.append(float(gap.mean() / gap.std() * len(gap) ** 0.5))
    print(f"⟨{name}, ε⟩ − ⟨{name}, ε*⟩ = {float(gap.mean()):+.4f}, {z_scores[-1]:+.1f} standard errors")

# %% [markdown]
# The loss therefore never reaches zero: what is left is the noise that $x_t$ does not determine, the same for every network.

# %%
levels = (0.05, 0.2, 0.5, 1.0)
floors = {t: float(((e - exact_eps(x, t)) ** 2).mean()) for t in levels for x, e, _, _ in [draw(100_000, t)]}
print("least mean squared error of ε:", ", ".join(f"{floor:.3f} at t = {t}" for t, floor in floors.items()))

# %% [markdown]
# ## From scratch, in forty lines
#
# Draw data, draw a time, add noise, predict. No equation is solved in training. The target is the one thing that
# differs between the four networks; each is multiplied by nothing but a power of $\sigma$ for the score, whose target
# $-\varepsilon/\sigma$ would otherwise drown all other times in those of little noise.

# %%
LAM_LOW, LAM_HIGH = float(process.lam(torch.tensor(1.0))), 4.5
STEPS, BATCH = 1500, 256


class Network(nn.Module):
    """Two hidden layers that see x scaled to unit variance and waves of λ."""

    def __init__(self, width=128):
        super().__init__()
        self.register_buffer("waves", torch.linspace(0.1, 1.5, 8))
        sizes = (2 + 16, width, width, 2)
        layers = [nn.Sequential(nn.Linear(a, b), nn.SiLU()) for a, b in pairwise(sizes[:-1])]
        self.body = nn.Sequential(*layers, nn.Linear(*sizes[-2:]))

    def forward(self, x, lam):
        phase = lam * self.waves
        return self.body(torch.cat([x, torch.sin(phase), torch.cos(phase)], 1))


def target(kind, x0, eps, alpha, sigma):
    match kind:
        case "epsilon":
            return eps
        case "x0":
            return x0
        case "v":
            return alpha * eps - sigma * x0
        case "score":
            return -eps / sigma


def learn(kind):
    """A network that predicts `kind`, and its losses."""
    torch.manual_seed(0)
    network, losses = Network(), []
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        lam = LAM_LOW + (LAM_HIGH - LAM_LOW) * torch.rand(BATCH, generator=random, dtype=torch.float64)
        x, eps, alpha, sigma = draw(BATCH, process.t_of_lam(lam), torch.float32)
        wanted = target(kind, (x - sigma * eps) / alpha, eps, alpha, sigma)
        weight = sigma**2 if kind == "score" else 1.0
        loss = (weight * (network(x, lam.float()[:, None]) - wanted) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return network.eval(), losses


learned = {kind: learn(kind) for kind in KINDS}
parts = (Network.__init__, Network.forward, target, learn)
lines = sum(bool(line.strip()) for part in parts for line in getsource(part).splitlines())
print(f"network, target and training: {lines} lines")
print(
    "mean loss of the last 200 steps:",
    {kind: round(float(np.mean(loss[-200:])), 3) for kind, (_, loss) in learned.items()},
)

# %% [markdown]
# ## One object, four names
#
# With $x = \alpha x_0 + \sigma\varepsilon$ known, any one of the four gives the others:
#
# $$ s = -\frac{\varepsilon}{\sigma}, \qquad D = \frac{x - \sigma\varepsilon}{\alpha}, \qquad
# v = \alpha\varepsilon - \sigma D, \qquad \varepsilon = \alpha v + \sigma x . $$
#
# (The last two hold where $\alpha^2 + \sigma^2 = 1$.) A worked number: for the process $f = -\tfrac12$, $g = 1$, a
# network that says $\varepsilon = 0.6$ at three times says three different scores, the larger the less noise there is.

# %%
plain = make_process("vp", beta_min=1.0, beta_max=1.0)
scores = [float(-0.6 / plain.sigma(torch.tensor(t, dtype=torch.float64))) for t in (0.25, 0.5, 0.75)]
print("score at t = ¼, ½, ¾:", [round(score, 2) for score in scores])

# %% [markdown]
# Convert each of the four learned networks into all four predictions, and measure the error against the exact model at
# many noise levels. What matters is not which of the four is learned in principle, but where its errors are magnified.

# %%
grid = torch.linspace(LAM_LOW, LAM_HIGH, 25, dtype=torch.float64)


@torch.no_grad()
def predicted_x0(kind, x, t):
    """The clean data (n, 2) that the network of that kind says, float64."""
    network, lam = learned[kind][0], process.lam(t)
    out = network(x.float(), lam.float().expand(len(x), 1)).double()
    return to_x0(kind, out, x, process.alpha(t), process.sigma(t))


errors = {(kind, shown): [] for kind in KINDS for shown in KINDS}
for t in process.t_of_lam(grid):
    x, *_ = draw(4000, t)
    alpha, sigma, exact = process.alpha(t), process.sigma(t), truth.denoise(x, t)
    for kind in KINDS:
        for shown in KINDS:
            ours, wanted = (from_x0(shown, d, x, alpha, sigma) for d in (predicted_x0(kind, x, t), exact))
            errors[kind, shown].append(float((ours - wanted).pow(2).mean().sqrt()))
noisy, clean = slice(0, 5), slice(-5, None)
print("learned    error of D, much noise   error of ε, little noise")
for kind in KINDS:
    print(f"{kind:<10} {np.mean(errors[kind, 'x0'][noisy]):<24.3f} {np.mean(errors[kind, 'epsilon'][clean]):.3f}")

# %% [markdown]
# The network that predicts ε is poor at saying $D$ where there is much noise, since $D = (x - \sigma\varepsilon)/\alpha$
# divides by a
# small $\alpha$; the network that predicts $x_0$ is poor at saying ε where there is little, since
# $\varepsilon = (x - \alpha D)/\sigma$
# divides by a small $\sigma$. The mixture $v$ turns from the one into the other.
#
# ## The weight of each noise level
#
# Which loss should be summed over time, and how? If the score is used to run the process backwards, the loss of
# likelihood is known exactly: for two densities carried along by the same process,
#
# $$ \frac{\mathrm{d}}{\mathrm{d}t} \mathrm{KL}(p_t \,\|\, q_t) =
# -\tfrac12\, g^2(t)\; \mathbb{E}_{p_t} \big|\nabla\log p_t - \nabla\log q_t\big|^2 . $$
#
# So errors of the score count with the weight $g^2$. Here are both sides for two mixtures on a line, by quadrature:


# %%
def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


line = torch.linspace(-9, 9, 4001, dtype=torch.float64)[:, None]
step = float(line[1] - line[0])
p = Mixture(process, numbers(0.4, 0.6), numbers([-1.0], [0.7]), numbers(0.3, 0.2))
q = Mixture(process, numbers(0.7, 0.3), numbers([-0.8], [0.9]), numbers(0.4, 0.3))


def kl_and_fisher(t):
    """KL(p_t ‖ q_t), and the mean squared difference of the scores under p_t."""
    log_p, log_q = p.log_prob(line, t), q.log_prob(line, t)
    difference = process.alpha(t) / process.sigma(t) ** 2 * (p.denoise(line, t) - q.denoise(line, t))
    density = torch.exp(log_p)
    return float((density * (log_p - log_q)).sum() * step), float((density * difference[:, 0] ** 2).sum() * step)


nodes, weights = np.polynomial.legendre.leggauss(40)
t_low, t_high = 0.05, 1.0
times = numbers(*(t_low + (t_high - t_low) * (nodes + 1) / 2))
rate = np.array([0.5 * float(process.g2(t)) * kl_and_fisher(t)[1] for t in times])
integral = float((weights * rate).sum() * (t_high - t_low) / 2)
lost = kl_and_fisher(numbers(t_low)[0])[0] - kl_and_fisher(numbers(t_high)[0])[0]
print(f"KL lost from t = {t_low} to {t_high}: {lost:.6f}; ½ ∫ g² E|difference of scores|² dt: {integral:.6f}")

# %% [markdown]
# For a network that predicts ε this weight has a simple form. As $|{\Delta s}|^2 = |\Delta\varepsilon|^2/\sigma^2$ and
# $g^2\,\mathrm{d}t/\sigma^2 = -2\,\mathrm{d}\lambda$, the likelihood's loss is the plain error of ε spread *evenly over λ*:
# which
# is how times were drawn above. Times drawn evenly in $t$ weigh a noise level by $\mathrm{d}t/\mathrm{d}\lambda$ instead:


# %%
def share(low, high):
    """The stretch of t between two values of λ."""
    return float(process.t_of_lam(numbers(low))[0] - process.t_of_lam(numbers(high))[0])


thirds = np.linspace(LAM_LOW, LAM_HIGH, 4)
uniform_t = np.array([share(a, b) for a, b in pairwise(thirds)]) / share(LAM_LOW, LAM_HIGH)
print(
    f"evenly in t, the three thirds of the range of λ, from noise to data, weigh {uniform_t.round(2)}; evenly in λ, ⅓ each"
)

# %% [markdown]
# ## The picture

# %% tags=["hide-input"]
figure = plt.figure(figsize=(10, 6.2), layout="constrained")
top, bottom = figure.subfigures(2, 1, height_ratios=(1.05, 1))
panels = top.subplots(1, 3)
side = torch.linspace(-1.6, 1.6, 15, dtype=torch.float64)
arrows = torch.cartesian_prod(side, side)
fine = torch.cartesian_prod(*[torch.linspace(-1.7, 1.7, 150, dtype=torch.float64)] * 2)
for axis, t in zip(panels, numbers(0.1, 0.25, 0.5), strict=True):
    axis.contourf(
        fine[:, 0].reshape(150, 150), fine[:, 1].reshape(150, 150),
        torch.exp(truth.log_prob(fine, t)).reshape(150, 150), 12, cmap="Greys",
    )  # fmt: skip
    for d, colour, width in (
        (truth.denoise(arrows, t), FAINT, 0.014),
        (predicted_x0("v", arrows, t), COLOURS[1], 0.005),
    ):
        field = from_x0("epsilon", d, arrows, process.alpha(t), process.sigma(t))
        axis.quiver(*arrows.T, *-field.T, color=colour, width=width, scale=40)
    axis.set(title=f"t = {float(t):g}", aspect="equal", xticks=(), yticks=())
    axis.grid(False)
left, right = bottom.subplots(1, 2)
for axis, shown, title in ((left, "epsilon", "error of ε"), (right, "x0", "error of D")):
    for kind, colour in zip(KINDS, COLOURS, strict=False):
        axis.semilogy(grid, errors[kind, shown], color=colour, label={"epsilon": "ε", "x0": "x₀"}.get(kind, kind))
    axis.set(title=title + ", root mean square", xlabel="λ    (much noise → little noise)")
    axis.yaxis.set_major_formatter("{x:g}")
right.legend(title="learned", frameon=False, ncols=2)
plt.show()

# %% [markdown]
# *Above: the score times σ, exact (grey) and of the network that learned v (orange), over the exact density.* They agree
# best where there is density to learn from. *Below: the same four networks, read as ε and as clean data.* Where there is much
# noise the network of x₀ is best, and those of ε and of the score are useless for $D$; where there is little it is the worst; v
# is good at both ends. The hump is where the
# modes part: there the field is hard to learn, whatever it is called.
#
# ## Checks

# %%
assert max(map(abs, z_scores)) < 4, "the noise and the exact ε have the same inner products"
assert list(floors.values()) == sorted(floors.values(), reverse=True) and floors[1.0] < 0.01 < 0.5 < floors[0.05]
assert lines <= 40, "from scratch, in forty lines"
assert [round(score, 2) for score in scores] == [-1.28, -0.96, -0.83]
middle = slice(8, 16)
for kind in KINDS:
    relative = np.mean(errors[kind, "epsilon"][middle])
    assert relative < 0.15, f"the network that learned {kind} gives ε to 15 % in the middle, got {relative:.2f}"
assert np.mean(errors["epsilon", "x0"][noisy]) > 2 * np.mean(errors["x0", "x0"][noisy])
assert np.mean(errors["x0", "epsilon"][clean]) > 1.2 * np.mean(errors["epsilon", "epsilon"][clean])
assert abs(integral / lost - 1) < 1e-6, "the loss of KL is the integral with the weight ½ g²"
assert uniform_t[2] < 0.25 and abs(uniform_t.sum() - 1) < 1e-12, "evenly in t neglects the third nearest to the data"

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
# # Add your own solver, model or suite, and read the report
#
# A benchmark is worth as much as what can be put into it. This page adds a solver, asks whether it is what it says,
# measures it beside others and reads the report; then it adds a model and a suite. None of this edits the library.
#
# Start from a clone:
#
# ```sh
# git clone ADDRESS scorebench && cd scorebench
# make .venv/.installed       # Python 3.11 or newer, pip and make are all it needs
# . .venv/bin/activate
# ```
#
# The lines between `sh("""` and `""")` are for a terminal there; they were run, in this order, when this page was built. Results
# go to `build/guide`; without `--store` and `--out` they would go to `results/local`.

# %% tags=["hide-input"]
import os
import shutil
import subprocess
import time
from pathlib import Path

import pandas as pd
from IPython.display import Image

import scorebench.solvers

os.chdir(Path(scorebench.solvers.__path__[0]).resolve().parent)  # the root of the clone
shutil.rmtree("build/guide", ignore_errors=True)
os.environ.pop("FORCE_COLOR", None)  # which notebooks set, as if they were terminals
began = time.monotonic()


def sh(commands):
    """Run lines of bash, show what they print, and stop at the first that fails."""
    done = subprocess.run(["bash", "-e"], input=commands, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout)
    assert done.returncode == 0, f"exit code {done.returncode}"


# %% [markdown]
# ## A solver is one function
#
# It is a generator over a grid of times, with its facts in a decorator. Here is a whole one, Euler's method in $t$:

# %%
sh("""
cat docs/example_solver.py
""")

# %% [markdown]
# - `problem.velocity`, `denoise`, `eps` and `score` each cost one network call, and are counted.
# - `order` is a claim, and `reference` where it comes from; the options of a solver are its keyword-only arguments.
# - A stochastic method says `kind="sde"`, and draws its noise from `problem.increment`.
#
# Change a copy of it into a method of your own. `--plugin FILE` makes every command know it.
#
# ## Certify it
#
# The certificate measures what the decorator claims, and looks at what nobody claims but everybody relies on:

# %%
sh("""
scorebench certify --plugin docs/example_solver.py --out build/guide/certificates --workers 1
""")

# %% [markdown]
# - **order** is the slope of the error between two grids, with its interval: from exact starting values, which is what the
#   decorator claims, and *self-started*, as everybody runs it.
# - **network calls** are counted for three numbers of steps; **split batches** and **ends of steps** say that a sample does not
#   depend on its batch and ends where it should; **σ → 0**, that the last step survives the end of the noise; **host
#   reads**, that the loop never waits for a GPU.
# - **equals** looks for the same map in the registry. Here it is there under another name; a new method has none. A bug that
#   leaves the order alone, an inverted step ratio for instance, is caught by such comparisons and not by orders.
#
# The exit code is 1 when a claim fails. What is to stay gets a file in `solvers/methods/`, or comes from a package of its own
# by an entry point: `CONTRIBUTING.md` shows both, and what a method with a history needs besides.
#
# ## Benchmark it
#
# `--solver` beside a suite narrows it to the solvers named, or adds those that it lacks; `--model` and `--budget` likewise:

# %%
sh(r"""
scorebench run quick --plugin docs/example_solver.py \
    --solver my-euler --solver euler --solver dpmpp-2m --model exact:gmm --budget 10 --budget 20 \
    --store build/guide/store
scorebench report --store build/guide/store --out build/guide/report
""")
needed = time.monotonic() - began
print(f"from the certificate to the report: {needed:.0f} s")

# %% [markdown]
# A cell that has been measured is never measured again. Ask for the same, and nothing is left to do:

# %%
sh(r"""
scorebench run quick --plugin docs/example_solver.py \
    --solver my-euler --solver euler --solver dpmpp-2m --model exact:gmm --budget 10 --budget 20 \
    --store build/guide/store
""")

# %% [markdown]
# ## Read the report
#
# `build/guide/report/report.html` is one page that loads nothing from elsewhere; `report.md` is the same for a terminal, and
# the tables are CSV files beside it. The table of the best comes first:

# %%
sh(r"""
sed -n '/^## The best/,/^!\[/p' build/guide/report/report.md | grep '|'
""")

# %%
summary = pd.read_csv("build/guide/report/summary.csv").query("`pass` == 'sample'")
summary[["solver", "grid", "budget", "nfe_mean", "error_median", "error_median low", "error_median high", "status"]]

# %% [markdown]
# - **budget** is the most network calls that a solver might spend, **nfe** what it did spend, counted by a hook.
# - **Brackets** are 95 % intervals. Two entries *tie* where the interval of their paired difference contains 0, or of their
#   medians' ratio 1, whatever the order of their numbers.
# - **The median error** is the distance to the converged solution from the same latents: what the solver does. **FID** and its
#   like are distances between distributions: what the viewer sees. They stand beside their *floor*, the same figure between
#   two sets of real samples; below it nothing can be ranked.
# - **A failure is a row**: divergence, too small a budget or a crash stands there with its cause.
# - Compare figures only inside one **field**: the same number of samples, seeds, dtype and model.
#
# ## A model is one address
#
# Anything with a `denoise(x, t)` is a model. A network of yours takes a function that says how it is fed and read:

# %%
sh("""
cat docs/example_model.py
scorebench models python:docs/example_model.py:my_model
""")

# %% [markdown]
# The address goes wherever a model is named: `--model python:docs/example_model.py:my_model`. A model that is itself the truth
# has `data = None`; with `log_prob`, `samples` and `denoise_trace` it is an exact one, and likelihoods are measured too.
#
# ## A suite is a small file

# %%
sh("""
cat > build/guide/mine.toml <<'TOML'
name = "mine"
about = "Two solvers on a Gaussian, whose trajectories are closed-form"
budgets = [5, 10]
models = [{ address = "exact:gaussian", n = 128 }]
solvers = [{ id = "ddim" }, { id = "dpmpp-2m" }]
TOML
scorebench run build/guide/mine.toml --store build/guide/store
""")

# %% [markdown]
# Whatever is misspelt is answered in one line, with the nearest valid choice and exit code 2, before anything is written:

# %%
sh("""
scorebench run quick --solver dpmpp-2n --store build/guide/nothing || echo "exit code $?"
""")

# %% [markdown]
# ## The picture

# %% tags=["hide-input"]
Image("build/guide/report/error-nfe-exact-gmm.png")

# %% [markdown]
# *The report's own picture: error against calls, lower left is better.* The second-order method wins at 20 calls by more than any
# interval, for the same price as the two of first order.
#
# ## Checks

# %%
rows = summary.set_index(["solver", "budget"])
assert (
    len(rows) == 6
    and (rows["status"] == "ok").all()
    and (rows["nfe_mean"] == rows.index.get_level_values("budget")).all()
)
for solver in ("my-euler", "euler"):
    assert rows.loc[(solver, 20.0), "error_median low"] > rows.loc[("dpmpp-2m", 20.0), "error_median high"]
assert not Path("build/guide/nothing").exists(), "a misspelt name writes nothing"
assert len(list(Path("build/guide/store/cells").glob("*.json"))) >= 6 + 4, (
    "the cells of the suite are in the same store"
)
assert needed < 600, "a solver is certified, benchmarked and reported in under ten minutes"

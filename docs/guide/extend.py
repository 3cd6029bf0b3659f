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
# Every command below was run when this page was built, from the root of a clone whose environment is active
# (`make .venv/.installed`, then `. .venv/bin/activate`). Results go to `build/guide`; without `--store` and `--out` they would go
# to `results/local`.

# %%
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
# ## Certify it
#
# The certificate measures what the decorator claims, and looks at what nobody claims but everybody relies on:

# %%
sh("""
scorebench certify --plugin docs/example_solver.py --out build/guide/certificates --workers 1
""")

# %% [markdown]
# The exit code is 1 when a claim fails. The last row says whether the registry has the same map already, under another name:
# it does, and a new method should not. A bug that leaves the order alone, an inverted step ratio for instance, is caught by such
# comparisons and not by orders.
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
# - **Brackets** are 95 % intervals. Two entries whose paired difference has an interval that contains 0 *tie*, whatever
#   the order of their numbers.
# - **The median error** is the distance to the converged solution from the same latents: what the solver does. **FID** and its
#   like are distances between distributions: what the viewer sees. They stand beside their *floor*, the same figure between
#   two sets of real samples; below it nothing can be ranked.
# - **A failure is a row**: divergence, too small a budget or a crash stands there with its cause.
# - Compare figures only inside one **field**: the same number of samples, seeds, dtype and model.
#
# ## A model is one address
#
# Anything with a `denoise(x, t)` is a model. A network of yours takes ten lines, which say how it is fed and read:

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
! scorebench run quick --solver dpmpp-2n --store build/guide/nothing
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
assert time.monotonic() - began < 600, "a solver is certified, benchmarked and reported in under ten minutes"

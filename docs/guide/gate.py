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
# # Choose a sampler, gate a repository, publish a result
#
# Three tasks for whoever has results: to pick a sampler by them, to notice when a change makes something worse, and to hand
# them on so that others can check them. The lines between `sh("""` and `""")` are for a terminal at the root of a clone, as
# on [the page before](extend.py); they were run when this page was built. Results go to `build/guide-gate`.

# %% tags=["hide-input"]
import json
import os
import shutil
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import scorebench.solvers
from scorebench.reports.choose import Question, choose
from scorebench.reports.compare import levels
from scorebench.reports.results import load
from scorebench.reports.style import INK, colour, marker, use_style

# %matplotlib inline
use_style()
os.chdir(Path(scorebench.solvers.__path__[0]).resolve().parent)  # the root of the clone
shutil.rmtree("build/guide-gate", ignore_errors=True)
os.environ.pop("FORCE_COLOR", None)  # which notebooks set, as if they were terminals


def sh(commands, code=0):
    """Run lines of bash, show what they print, and stop unless they end with this exit code."""
    done = subprocess.run(["bash", "-e"], input=commands, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout)
    assert done.returncode == code, f"exit code {done.returncode}"


# %% [markdown]
# ## Choose
#
# A store answers once it holds the model. Here is a small one, three solvers at six budgets on a mixture whose trajectories
# are known:

# %%
sh(r"""
scorebench run quick --model exact:gmm --store build/guide-gate/store \
    --solver euler --solver dpmpp-2m --solver unipc-3 \
    --budget 5 --budget 8 --budget 10 --budget 12 --budget 15 --budget 20
""")

# %% [markdown]
# Twelve network calls: which sampler?

# %%
sh("""
scorebench choose --model exact:gmm --nfe 12 --explain --store build/guide-gate/store
""")

# %% [markdown]
# Each solver on each grid enters with its best cell that fits; *worse* means beyond doubt. A distance between sets of samples
# sees less than the error of each sample:

# %%
sh("""
scorebench choose --model exact:gmm --nfe 12 --by fid --store build/guide-gate/store
""")

# %% [markdown]
# *tie* means that the interval of the paired difference to the best, corrected for the number of entrants, contains 0: take
# whichever you like. A quality asks the other way round, and `--ms` counts milliseconds of the machine that measured:

# %%
sh("""
scorebench choose --model exact:gmm --quality 0.05 --store build/guide-gate/store
""")

# %% [markdown]
# The answer as something to paste: `python`, `toml` (a suite that measures it again), `json`, or the scheduler of `diffusers`
# that is the same method:

# %%
sh("""
scorebench choose --model exact:gmm --nfe 12 --format python --store build/guide-gate/store | tee build/guide-gate/chosen.py
python build/guide-gate/chosen.py
scorebench choose --model exact:gmm --nfe 12 --format diffusers --store build/guide-gate/store
""")

# %% [markdown]
# A model of yours needs no store: `scorebench choose --model python:mine.py:model --nfe 12 --measure 10m` spends the time on
# successive halving over all solvers and grids, and answers.
#
# ## Gate a repository
#
# A gate needs something to compare with. Here a solver of one's own, measured as it is:

# %%
sh(r"""
cp docs/example_solver.py build/guide-gate/mine.py
scorebench run gate --plugin build/guide-gate/mine.py --solver my-euler --model exact:gmm --store build/guide-gate/base
""")

# %% [markdown]
# And the same file after a change that looks harmless, a step that begins a little early. One command says what it did:

# %%
sh(
    r"""
sed 's/velocity(x, t)/velocity(x, 0.99 * t)/' docs/example_solver.py > build/guide-gate/mine.py
scorebench run gate --plugin build/guide-gate/mine.py --solver my-euler --model exact:gmm --store build/guide-gate/new
scorebench compare build/guide-gate/base build/guide-gate/new --out build/guide-gate/comparison
""",
    code=1,
)

# %% [markdown]
# The exit code is 1: something became worse. Numbers that the same seeds gave before have moved, some for the worse. And
# likelihoods cost more calls: their integral needs the network where a step begins, and no longer finds it there.
#
# The levels, from exact to noisy:
#
# - **cells**: what was measured is still measured, and still works;
# - **counts**: network calls, Jacobian products and FLOPs are equal (of adaptive methods nearly: rounding may turn down a step);
# - **golden**: the same seeds give the same numbers, but for rounding;
# - **quality**: where seeds or code differ, no measure is worse than its margin beyond doubt, paired where samples are the same;
# - **time**: on one machine, in units of a solve's own network calls; too slow is a warning, and commits measure again.

# %%
print(
    f"margins: calls of an adaptive method {levels.OTHER_STEPS:.0%}, median error {levels.MARGIN['error_median']:.0%}"
)
print(f"too slow: from {levels.SLOWER} times on")

# %% [markdown]
# `comparison.md` is made for a pull request, `comparison.json` for a program. A base may be a store, a table or a commit:
#
# ```sh
# scorebench compare main . --suite gate          # this checkout against main, each measured by its own code
# scorebench compare results/baseline/quick.csv results/demo --level cells --level counts --level golden
# ```
#
# Where a change is wanted, the table is renewed with its reason, which stays in the file:

# %%
sh(r"""
scorebench compare build/guide-gate/base build/guide-gate/new --update-baseline build/guide-gate/base.csv \
    --reason "the step begins early: an example of this guide" > build/guide-gate/renewed.txt
head -1 build/guide-gate/base.csv
scorebench compare build/guide-gate/base.csv build/guide-gate/new
""")

# %% [markdown]
# On every pull request a workflow does it, which other repositories call. In `.github/workflows/` of yours:

# %%
sh("""
sed -n '3,12p' .github/workflows/gate.yml | cut -c5-
""")

# %% [markdown]
# ## Publish a result
#
# A figure that others can check says what it was measured on. One table has all of it, a row for each metric of each cell:

# %%
sh("""
scorebench store verify build/guide-gate/store
scorebench store export build/guide-gate/store --out build/guide-gate/rows.csv
""")
rows = pd.read_csv("build/guide-gate/rows.csv")
rows[["model", "solver", "grid", "budget", "nfe_mean", "metric", "value", "low", "high", "n_samples", "commit"]].head(4)

# %% [markdown]
# Give with a figure the model and its digest, the solver with its grid and options, the calls really spent, the number of samples
# and the seed block, the interval, and of distances to data the floor: these are columns. Times need the machine, threads and
# versions, columns too. The store itself is the best supplement: `verify` finds every changed bit in it, and
# `scorebench store merge` adds it to somebody else's. How to cite the benchmark stands in `CITATION.cff`, and each solver's paper
# in the [bibliography](../bibliography.md).
#
# ## The picture

# %% tags=["hide-input"]
errors = rows.query("metric == 'error_median' and model == 'exact:gmm'")
results = load(Path("build/guide-gate/store"))
answers = {calls: choose(results, Question("exact:gmm", "nfe", calls)).choices for calls in range(5, 21)}
fig, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
best = [choices[0] for choices in answers.values()]
axes.step(list(answers), [choice.value for choice in best], where="post", color=INK, lw=4, alpha=0.3)
axes.annotate("what choose takes", (15.5, answers[15][0].value), xytext=(0, 8), textcoords="offset points", color=INK)
for solver, group in errors.groupby("solver"):
    axes.plot(group["nfe_mean"], group["value"], marker=marker(solver), ms=4, lw=1, color=colour(solver))
    end = (group["nfe_mean"].max(), group["value"].min())
    axes.annotate(solver, end, xytext=(6, 0), textcoords="offset points", va="center", color=colour(solver))
axes.set(yscale="log", xlabel="network calls at most", ylabel="median error, rms per dimension", xlim=(4.5, 23.5))
axes.set_xticks(sorted(errors["budget"].unique()))
axes.xaxis.set_major_formatter("{x:.0f}")
axes.yaxis.set_major_formatter("{x:g}")
plt.show()

# %% [markdown]
# *The answer at each number of calls (grey) is the lower envelope of what was measured within it.* It never rises with the
# budget: a sampler that fits ten calls fits twelve as well.
#
# ## Checks

# %%
values = [choice.value for choice in best]
comparison = json.loads(Path("build/guide-gate/comparison/comparison.json").read_text())
found = {(finding["level"], finding["verdict"]) for finding in comparison["findings"]}
assert values == sorted(values, reverse=True)
assert all(choice.nfe <= calls for calls, choices in answers.items() for choice in choices)
for calls in (12, 20):
    assert np.isclose(answers[calls][0].value, errors.query(f"nfe_max <= {calls}")["value"].min())
assert comparison["regressed"] and {("golden", "regression"), ("counts", "regression")} <= found
assert Path("build/guide-gate/base.csv").read_text().startswith("# 2") and len(rows) > 100

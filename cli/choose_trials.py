"""Is `scorebench choose` right on samples that it has not seen? `python -m scorebench.cli.choose_trials FOLDER`

The solvers of the suite `quick` are measured at 20 budgets on three models, once with the seed that the chooser reads and once
with another one. At each budget the pick's error on the other seed is compared with the smallest there; exit code 1 when it is
more than 1.10 times as large at more than one budget of a model.
"""

import json
import sys
from math import isnan
from pathlib import Path

from scorebench.bench.entries import ModelEntry
from scorebench.bench.revisions import Revision, checkout, text_of
from scorebench.bench.suite import Suite, load_suite
from scorebench.reports.choose import Question, choose
from scorebench.reports.results import Results, load

BUDGETS = list(range(5, 25))
MODELS = {"exact:gmm": 512, "exact:gmm?process=ve": 512, "digits-vp": 512}
HELD_OUT = 1000  # samples
ALLOWED = 1.10


def suite(seed: int, n: dict[str, int]) -> Suite:
    """Errors alone, of so many samples of each model."""
    models = [ModelEntry(address=address, n=number) for address, number in n.items()]
    change = {
        "budgets": BUDGETS,
        "seed": seed,
        "models": models,
        "metrics": ["error_median"],
        "likelihood": None,
        "timing": None,
    }
    return load_suite("quick").model_copy(update=change)


def measured(folder: Path, name: str, wanted: Suite) -> Results:
    """The results of a suite, kept in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.toml").write_text(text_of(wanted))
    store = Revision(name, checkout(), folder / name).measure(str(folder / f"{name}.toml"), [], print)
    return load(store)


def regret(seen: Results, unseen: Results, model: str, budget: int) -> tuple[str, float]:
    """What is chosen, and its error on unseen samples over the smallest there."""
    question = Question(model, "nfe", float(budget))
    pick, best = choose(seen, question).best, choose(unseen, question).best
    rows = unseen.frame[(unseen.frame["model"] == model) & (unseen.frame["metric"] == "error_median")]
    same = (
        (rows["solver"] == pick.solver)
        & (rows["grid"] == pick.grid)
        & (rows["options"].map(json.loads) == pick.options)
    )
    value = rows[same & (rows["budget"].fillna(0) == (0 if isnan(pick.budget) else pick.budget))]["value"].item()
    return pick.label, float(value) / best.value


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/local/choose-trials").resolve()
    seen = measured(folder, "seen", suite(0, MODELS))
    unseen = measured(folder, "unseen", suite(1, dict.fromkeys(MODELS, HELD_OUT)))
    worst = 0
    for model in MODELS:
        found = {budget: regret(seen, unseen, model, budget) for budget in BUDGETS}
        wrong = {budget: told for budget, told in found.items() if told[1] > ALLOWED}
        worst = max(worst, len(wrong))
        right = f"{len(BUDGETS) - len(wrong)} of {len(BUDGETS)}"
        print(
            f"{model}: {right} picks within {ALLOWED:g} of the best on {HELD_OUT} unseen samples {wrong or ''}",
            flush=True,
        )
    return int(worst > 1)


if __name__ == "__main__":
    sys.exit(main())

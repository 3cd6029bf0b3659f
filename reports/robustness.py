"""Who forgives a wrong score, and whether noise does: distances on models that differ in the error of their score alone.

All start from the same latents, so that of one solver the distance with a wrong score less that with the exact one, which is
what the error adds, pairs by the jackknife's groups as entrants do.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorebench.bench.jackknife import Jackknifed

from .axes import End, end_labels, log_values, note
from .results import Results
from .style import FAINT, colour, dashes, marker
from .verdicts import Contest, competing, verdict
from .wording import count, interval, names, number, with_interval

WRONG = re.compile(r"[?&]score_(error|bias)=([0-9.eE+-]+)")
METRICS = ("moments_frechet", "fid")
SAYS = {1: "pays", -1: "costs", 0: "makes no sure difference"}  # of noise, by verdict


@dataclass(frozen=True)
class Study:
    """Of a model and a measure, at the largest budget, who competes with each size of the score's error, and each bias."""

    model: str
    measure: str
    budget: float
    errors: dict[float, Contest]  # the exact score first
    biases: dict[float, Contest]

    @property
    def most(self) -> float:
        """The largest error."""
        return max(self.errors)

    @cached_property
    def named(self) -> dict[str, Contest]:
        """Every contest under what is wrong in it."""
        errors = {f"error {size:g}" if size else "exact score": c for size, c in self.errors.items()}
        return errors | {f"bias {size:g}": c for size, c in self.biases.items()}

    def added(self, wrong: Contest) -> dict[str, Jackknifed]:
        """By label what an error adds to the distance of those who have replicates with and without it."""
        before, after = (_jackknifed(contest, self.measure) for contest in (self.errors[0.0], wrong))
        return {label: found - before[label] for label, found in after.items() if label in before}


@dataclass(frozen=True)
class Difference:
    """The best without noise and the best with noise in one contest, and how much nearer the latter is.

    The interval is corrected for the number of pairs of one with the other.
    """

    without: str
    noisy: str
    nearer: float
    half: float

    @property
    def verdict(self) -> int:
        """+1 where noise wins, −1 where it loses, 0 for a tie."""
        return int(self.nearer > self.half) - int(self.nearer < -self.half)


def studies(results: Results) -> Iterator[Study]:
    """Every model that was measured with an exact score and two sizes of error at least, on as many samples."""
    for metric in METRICS:
        found: dict[tuple[str, str], dict[tuple[str, float], Contest]] = {}
        for model, measure, _, rows in results.principal(metric):
            entrants, wrong = competing(rows, budget := float(rows["budget"].max())), WRONG.findall(model)
            if len(entrants) and len(wrong) <= 1:
                kind, size = wrong[0] if wrong else ("error", "0")
                contest = Contest(entrants, results.arrays, budget, "calls")
                found.setdefault((WRONG.sub("", model), measure), {})[kind, float(size)] = contest
        for (model, measure), contests in found.items():
            if ("error", 0.0) not in contests:
                continue
            exact = contests["error", 0.0]
            same = {key: c for key, c in sorted(contests.items()) if _alike(c) == _alike(exact)}
            errors, biases = ({size: c for (k, size), c in same.items() if k == kind} for kind in ("error", "bias"))
            if len(errors) >= 3:
                yield Study(model, measure, exact.budget, errors, biases)


def _alike(contest: Contest) -> tuple[float, int]:
    return contest.budget, int(contest.entrants["n_samples"].iloc[0])


def _jackknifed(contest: Contest, measure: str) -> dict[str, Jackknifed]:
    return {
        str(row["label"]): Jackknifed(float(row["value"]), contest.arrays[row["cell"]][measure])
        for row in contest.ranked.to_dict("records")
        if measure in contest.arrays[row["cell"]]
    }


def noise(contest: Contest) -> Difference | None:
    """Whether noise pays; None where all solvers have some, or none has."""
    ranked = contest.ranked
    places = [np.flatnonzero(ranked["kind"] == kind) for kind in ("ode", "sde")]
    if not all(map(len, places)):
        return None
    one, other = (int(place[0]) for place in places)
    half = contest.judge.critical(len(places[0]) * len(places[1])) * contest.judge.deviation(one)[other]
    labels, values = ranked["label"], ranked["value"]
    return Difference(str(labels[one]), str(labels[other]), float(values[one] - values[other]), float(half))


def caption(study: Study) -> str:
    """Who is nearest with the largest error, whether noise pays, and in one family what an error adds by how much noise."""
    wrong, error = study.errors[study.most], f"an error of {study.most:g} of the score's size"
    best = verdict(wrong)
    tied = f"; {names(best.ties)} {'tie' if len(best.ties) > 1 else 'ties'} with it" if best.ties else ""
    value = with_interval(best.value, best.low, best.high)
    said = [f"At {count(study.budget)} calls and with {error} {best.best} is nearest, {value}{tied}"]
    said += [*_noise_pays(study), *(told for name in _worst(study) for told in _families(study, name))]
    return ". ".join(said) + "."


def _worst(study: Study) -> list[str]:
    """The names of the largest error and of every bias."""
    return list(study.named)[len(study.errors) - 1 :]


def _noise_pays(study: Study) -> Iterator[str]:
    """With what wrong the best with noise beats the best without, and by how much where most is wrong."""
    found = {name: difference for name, c in study.named.items() if (difference := noise(c)) is not None}
    if not found:
        return
    cases = {sign: names([name for name, d in found.items() if d.verdict == sign]) for sign in SAYS}
    yield f"Noise {', '.join(f'{SAYS[sign]} with {case}' for sign, case in cases.items() if case)}"
    for name in (name for name in _worst(study) if name in found):
        d = found[name]
        size = f"{number(d.nearer)} {interval(d.nearer - d.half, d.nearer + d.half)}"
        yield f"With {name} the best with noise, {d.noisy}, is nearer than the best without, {d.without}, by {size}"


def _families(study: Study, name: str) -> Iterator[str]:
    """Of solvers that ran with several η what is wrong adds to each, least noise first."""
    wrong = study.named[name]
    added = study.added(wrong)
    for solver, rows in wrong.ranked[wrong.ranked["label"].isin(added)].groupby("solver"):
        rows = rows.sort_values("eta")
        if rows["eta"].nunique() < 2 or rows["eta"].nunique() < len(rows):
            continue
        found = [added[label] for label in rows["label"]]
        steps = [f"η = {eta:g}: {with_interval(*one.interval())}" for eta, one in zip(rows["eta"], found, strict=True)]
        less = with_interval(*(found[0] - found[-1]).interval())
        yield f"To {solver} {name} adds {names(steps)}, from the first to the last less by {less}"


def table(study: Study) -> tuple[str, list[str], list[list[str]]]:
    """(title, headings, rows): every solver with every error, nearest with the largest first, and what that adds."""
    title = (
        f"{study.measure} at {count(study.budget)} calls by what is wrong with the score (*: the best, or ties with it)"
    )
    best = {name: verdict(contest) for name, contest in study.named.items()}
    added = study.added(study.errors[study.most])
    spent = {name: {r["label"]: r for r in c.ranked.to_dict("records")} for name, c in study.named.items()}
    lines = []
    for label in study.errors[study.most].ranked["label"]:
        line = [str(label)]
        for name, rows in spent.items():
            row = rows.get(label)
            star = "* " if label in (best[name].best, *best[name].ties) else ""
            line.append("–" if row is None else star + with_interval(row["value"], row["low"], row["high"]))
        line.append(with_interval(*added[label].interval()) if label in added else "–")
        lines.append(line)
    return title, ["solver", *spent, f"added by error {study.most:g}"], lines


def tables(results: Results) -> Iterator[tuple[str, str, list[str], list[list[str]]]]:
    """(model, title, headings, rows) of every study."""
    for study in studies(results):
        yield study.model, *table(study)


def alt(study: Study) -> str:
    labels = [str(label) for label in study.errors[0.0].ranked["label"]]
    return (
        f"Line chart. {study.measure} on {study.model} against the relative error of its score, of {names(labels, 12)}."
    )


def chart(study: Study) -> Figure:
    """A line a solver over evenly spaced sizes of the error, and beside them each bias; intervals stand in the table."""
    figure = Figure(figsize=(9, 5.4))
    ax = figure.subplots()
    figure.subplots_adjust(left=0.1, right=0.72, top=0.91, bottom=0.12)
    columns = [c.ranked[c.ranked["value"] > 0].assign(place=k) for k, c in enumerate(study.named.values())]
    points = pd.concat(columns)
    ax.set_xlim(-0.15, len(columns) - 0.85)
    log_values(ax, float(points["value"].min()) / 1.4, float(points["value"].max()) * 1.3)
    ends = []
    for label, line in points.groupby("label", sort=False):
        biased = line["place"] >= len(study.errors)
        for part in (line[~biased], *(line[line["place"] == place] for place in line["place"][biased])):
            if len(part):
                _draw(ax, part)
        last = line.iloc[-1]
        ends.append(End(str(label), str(last["solver"]), float(last["place"]), float(last["value"]), False))
    ax.set_xticks(range(len(columns)), list(study.named))
    across, up = "what is wrong with the score, relative to its size", f"{study.measure} at {count(study.budget)} calls"
    ax.set(xlabel=across, ylabel=up)
    end_labels(ax, ends)
    told = "↙ lower is better; dashed: stochastic"
    if np.isfinite(floor := float(study.errors[0.0].entrants["floor"].iloc[0])):
        ax.axhline(floor, color=FAINT, lw=1.2, ls=(0, (1, 1.5)))
        told += f"; dotted: exact draws, {number(floor)}"
    note(ax, told)
    ax.set_title(f"{study.model}: who forgives a wrong score", pad=12)
    return figure


def _draw(ax: Axes, line: pd.DataFrame) -> None:
    solver, across = str(line["solver"].iloc[0]), line["place"].to_numpy(float)
    (drawn,) = ax.plot(across, line["value"], lw=1.5, ms=5.5, markeredgecolor="white", marker=marker(solver))
    drawn.set(color=colour(solver), linestyle=dashes(str(line["kind"].iloc[0])))

"""A certificate's card: one self-contained page from its JSON, with a picture of the errors behind the orders."""

import io
import json
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt

from .axes import log_values
from .style import COLOURS, MARKERS, use_style

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ id }}: certificate</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .35rem .75rem; border-bottom: 1px solid #8884; vertical-align: top }
.holds { color: #1a7f37 } .fails { color: #cf222e; font-weight: 600 }
@media (prefers-color-scheme: dark) { .holds { color: #57ab5a } .fails { color: #f47067 } }
h1 { overflow-wrap: anywhere }
figure { margin: 1rem 0 } svg { max-width: 100%; height: auto; background: white }
</style>
<h1>{{ id }}</h1>
<p class="{{ 'holds' if passed else 'fails' }}">{{ 'Every registered claim' if passed else 'A claim' }} {{ verdict }}.</p>
{% if picture -%}
<figure role="img" aria-label="Errors behind the orders">{{ picture | safe }}
<figcaption>A line has the order of its claim where it keeps to the slope of the dashed one.</figcaption></figure>
{% endif -%}
<table>
<thead><tr><th>check</th><th>claimed</th><th>measured</th><th>verdict</th></tr></thead>
<tbody>
{% for v in verdicts -%}
<tr><td>{{ v.check }}</td><td>{{ v.claimed }}</td><td>{{ v.measured }}</td>
<td class="{{ {true: 'holds', false: 'fails'}.get(v.passed, '') }}">
{{- {true: 'holds', false: 'fails'}.get(v.passed, 'a fact') }}</td></tr>
{% endfor -%}
</tbody>
</table>
<p>Measured on {{ source }}. Orders are slopes of each sample's error on the exact flow of a mixture in the plane, from
σ/α = 4 to ¼, with the 95 % interval of their median.</p>
</html>
"""


def write_card(path: Path) -> Path:
    """Write the page beside a certificate's JSON file, and give its path."""
    certificate = json.loads(path.read_text())
    page = path.with_suffix(".html")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(PAGE)
    page.write_text(template.render(**certificate, picture=draw_ladders(certificate["verdicts"])), encoding="utf-8")
    return page


def draw_ladders(verdicts: list[dict[str, Any]]) -> str:
    """The errors behind the orders, as SVG, with the claimed slope beside each; nothing where there are none.

    Orders on the further processes are left out: for most methods their lines fall on one another.
    """
    shown = [v for v in verdicts if v["ladder"] and " on " not in v["check"].replace(" on flow", "")]
    if not shown:
        return ""
    use_style()
    figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    for place, verdict in enumerate(shown):
        x, y = zip(*verdict["ladder"], strict=True)
        look = {"color": COLOURS[place], "marker": MARKERS[place], "markersize": 4}
        axes.loglog(x, y, label=f"{verdict['check']}: {verdict['value']:.2f}", **look)
        claimed = verdict["claimed"].removeprefix("power ")
        if claimed:
            power = float(claimed) if x[0] > x[-1] else -float(claimed)
            axes.loglog(x, [y[-1] * (at / x[-1]) ** power for at in x], "--", color=COLOURS[place], linewidth=0.8)
    steps = x[0] < x[-1]
    axes.set(xlabel="steps" if steps else "tolerance, absolute and relative", ylabel="error at σ/α = ¼")
    ticks, errors = zip(*(pair for verdict in shown for pair in verdict["ladder"]), strict=True)
    axes.set_xticks(sorted(set(ticks)), [f"{tick:g}" for tick in sorted(set(ticks))])
    axes.set_xticks([], minor=True)
    log_values(axes, 0.5 * min(errors), 2 * max(errors))
    if not steps:
        axes.invert_xaxis()
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, labelcolor="linecolor")
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")
    plt.close(figure)
    return drawn.getvalue().partition("<svg")[2].join(["<svg", ""])

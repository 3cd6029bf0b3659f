"""A certificate's card: one self-contained page from its JSON."""

import json
from pathlib import Path

import jinja2

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
</style>
<h1>{{ id }}</h1>
<p class="{{ 'holds' if passed else 'fails' }}">{{ 'Every claim holds.' if passed else 'A claim fails.' }}</p>
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
    page.write_text(template.render(**certificate), encoding="utf-8")
    return page

"""One HTML page that opens offline: tables and figures inside, every number linked to its file."""

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from pydantic import BaseModel

from selflong.formats import write_text
from selflong.recipe import Recipe
from selflong.report.build import ReportFigure, read_scores, report_figures, report_tables
from selflong.report.manifest import git_commit, package_versions
from selflong.report.results import Measured
from selflong.report.summary import summarise, to_markdown
from selflong.report.tables import Table
from selflong.report.timing import read_times, write_times

SHOWN_PACKAGES = ("torch", "transformers", "deepspeed", "snakemake", "polars", "seaborn", "lm_eval")

TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ recipe.name }} – selflong</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; max-width: 78rem;
  margin: 0 auto; padding: 0 1.5rem 4rem; }
h1 { margin-bottom: 0; } h3 { margin-bottom: .3rem; }
h2 { border-bottom: 1px solid #bbb; margin-top: 2.5rem; }
nav a { margin-right: 1rem; } a { color: #0b5394; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .2rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; } th { border-bottom: 1px solid #444; }
td a { color: inherit; text-decoration: none; border-bottom: 1px dotted #999; }
figure { margin: 1rem 0 2rem; } figure img { max-width: 100%; height: auto; }
.caption { color: #444; font-size: 13px; max-width: 60rem; margin: .3rem 0; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem 1.5rem; }
</style>
</head>
<body>
<h1>{{ recipe.name }}</h1>
<p>{{ recipe.description }}</p>
<nav><a href="#summary">Summary</a><a href="#workflow">Workflow</a><a href="#figures">Figures</a>
<a href="#tables">Tables</a><a href="#assumptions">Assumptions and deviations</a><a href="#time">Time</a>
<a href="#provenance">Provenance</a></nav>

<h2 id="summary">Summary</h2>
{% for heading, statements in summary.parts.items() %}<h3>{{ heading }}</h3>
<ul>{% for statement in statements %}<li>{{ statement.text }}
{%- if statement.table %} <a href="#table-{{ statement.table }}">table</a>{% endif %}</li>
{% endfor %}</ul>
{% endfor %}

<h2 id="workflow">Workflow</h2>
<figure><img alt="The rules of the workflow by stage" src="{{ workflow.image }}">
<figcaption class="caption">Rules by stage; what a rule reads comes from the left, from above, or
back from the right; pale arrows skip a stage.</figcaption>
</figure>

<h2 id="figures">Figures</h2>
{% for figure in figures %}
<figure id="figure-{{ figure.name }}"><h3>{{ figure.title }}</h3>
<img alt="{{ figure.title }}" src="{{ figure.image }}">
<figcaption class="caption">{{ figure.caption }}
{% for suffix, link in figure.links.items() %}<a href="{{ link }}">{{ suffix }}</a> {% endfor %}
</figcaption></figure>
{% endfor %}

<h2 id="tables">Tables</h2>
{% for table in tables %}
<section id="table-{{ table.name }}"><h3>{{ table.title }}</h3>
<div class="wide"><table>
<thead><tr>{% for column in table.columns %}<th>{{ column }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}<tr>{% for cell in row %}<td>
{%- if cell.link %}<a href="{{ cell.link }}" title="{{ cell.hint }}">{{ cell.text }}</a>
{%- else %}{{ cell.text }}{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
<p class="caption">{{ table.caption }}
{% for suffix, link in table.links.items() %}<a href="{{ link }}">{{ suffix }}</a> {% endfor %}</p></section>
{% endfor %}

<h2 id="assumptions">Assumptions and deviations</h2>
<h3>What this recipe does otherwise than the paper</h3>
<ul>{% for deviation in recipe.deviations %}<li>{{ deviation }}</li>
{% else %}<li>Nothing is listed.</li>{% endfor %}</ul>
<h3>Settings that the paper does not print</h3>
<dl>{% for place, reason in assumptions %}<dt>{{ place }}</dt><dd>{{ reason }}</dd>{% else %}
<dt>None is marked.</dt>{% endfor %}</dl>

<h2 id="time">Time</h2>
<p>{% for sentence in time.sentences() %}{{ sentence }} {% endfor %}Jobs that ran beside each other count once
in the whole, and each in its rule; memory is the most that a job was seen with. The same as
<a href="{{ times }}">time.json</a>.</p>
<div class="wide"><table>
<thead><tr><th>Rule</th><th>Jobs</th><th>Seconds</th><th>Longest job</th><th>Memory (MB)</th></tr></thead>
<tbody>
{% for rule in time.rules %}<tr><td>{{ rule.rule }}</td><td>{{ rule.jobs }}</td>
<td>{{ "%.1f"|format(rule.seconds) }}</td><td>{{ "%.1f"|format(rule.longest_seconds) }}</td>
<td>{{ "%.0f"|format(rule.memory_mb) }}</td></tr>
{% endfor %}</tbody></table></div>

<h2 id="provenance">Provenance</h2>
<p>Commit {{ commit }}, seed {{ recipe.seed }}.
{% for name, version in versions.items() %}{{ name }} {{ version }}{{ ", " if not loop.last }}{% endfor %}
The whole recipe, all package versions, seeds and the SHA-256 of every file are in
<a href="{{ manifest }}">manifest.json</a>; the run as a Workflow Run RO-Crate is in
<a href="{{ crate }}">ro-crate-metadata.json</a>. A number in a table leads to the file that it was counted
from; <code>python scripts/write_tables.py --check</code> counts all of them again.</p>
</body>
</html>
"""


@dataclass(frozen=True)
class _ShownCell:
    text: str
    link: str | None
    hint: str


SUMMARY = "summary.md"
TIMES = "time.json"


def write_page(
    recipe: Recipe, results: Path, tables: Path, figures: Path, workflow: Path, output: Path
) -> None:
    """Publish the page, and beside it its summary (summary.md) and what the jobs took so far (time.json).

    `tables`, `figures` and `workflow` are the folders that the other rules made. Links are relative to the
    page, so the folder of the results can be moved as a whole.
    """
    scores = read_scores(recipe, results)
    time = read_times(results)
    summary = summarise(Measured(recipe, scores), results, time)
    write_times(time, output.parent / TIMES)
    write_text(to_markdown(summary), output.parent / SUMMARY)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    page = output.parent
    drawn = [_figure(figure, figures, page) for figure in report_figures(recipe, results, scores)]
    text = environment.from_string(TEMPLATE).render(
        recipe=recipe,
        summary=summary,
        time=time,
        times=TIMES,
        workflow={"image": embedded(workflow / "workflow.svg")},
        figures=drawn,
        tables=[
            _table(table, results, tables, page) for table in report_tables(recipe, results, scores)
        ],
        assumptions=list(assumptions(recipe)),
        commit=git_commit() or "unknown",
        versions={
            name: version
            for name, version in package_versions().items()
            if name.replace("-", "_") in SHOWN_PACKAGES
        },
        manifest=_link(results / "manifest.json", page),
        crate=_link(results / "ro-crate-metadata.json", page),
    )
    write_text(text, output)


def embedded(image: Path) -> str:
    """An SVG as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(image.read_bytes()).decode()


def _figure(figure: ReportFigure, folder: Path, page: Path) -> dict[str, Any]:
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "image": embedded(folder / f"{figure.name}.svg"),
        "links": _links(folder, figure.name, ("png", "pdf", "svg"), page),
    }


def _table(table: Table, results: Path, folder: Path, page: Path) -> dict[str, Any]:
    rows = [
        [
            _ShownCell(
                cell.text,
                _link(results / cell.file, page) if cell.file else None,
                f"{cell.samples} samples, {cell.file}" if cell.samples else cell.file or "",
            )
            for cell in row
        ]
        for row in table.rows
    ]
    return {
        "name": table.name,
        "title": table.title,
        "caption": table.caption,
        "columns": table.columns,
        "rows": rows,
        "links": _links(folder, table.name, ("md", "csv", "tex"), page),
    }


def _links(folder: Path, name: str, suffixes: Sequence[str], page: Path) -> Mapping[str, str]:
    return {suffix: _link(folder / f"{name}.{suffix}", page) for suffix in suffixes}


def _link(path: Path, page: Path) -> str:
    return Path(os.path.relpath(path, page)).as_posix()


def assumptions(part: BaseModel, place: str = "") -> Iterator[tuple[str, str]]:
    """(setting, reason) of everything that the recipe marks as assumed; each reason once a setting."""
    for setting, reason in getattr(part, "assumed", {}).items():
        yield f"{place}{setting}", reason
    for name in type(part).model_fields:
        yield from _assumptions_of(getattr(part, name), f"{place}{name}")


def _assumptions_of(value: object, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, BaseModel):
        yield from assumptions(value, f"{place}.")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _assumptions_of(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _assumptions_of(item, f"{place}[{index}]")

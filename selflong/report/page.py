"""One HTML page that opens offline: tables and figures inside, every number linked to its file."""

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from pydantic import BaseModel

from selflong.drawing import ReportFigure
from selflong.formats import write_text
from selflong.recipe.recipe import Recipe
from selflong.report.answers import worst_answers
from selflong.report.build import measured_run, read_scores, report_figures, report_tables
from selflong.report.manifest import code_version, package_versions
from selflong.report.summary import summarise, to_markdown
from selflong.report.timing import read_times, write_times
from selflong.results import Results
from selflong.tables import Table

SHOWN_PACKAGES = ("torch", "transformers", "deepspeed", "snakemake", "polars", "seaborn", "lm_eval")

TEMPLATE = "page.html.j2"
MOST_ROWS = 25
"""Of a table that is shown unfolded."""


@dataclass(frozen=True)
class _ShownCell:
    text: str
    link: str | None
    hint: str
    answers: str | None
    """Anchor of the worst answers that it counts."""


def write_page(
    *, recipe: Recipe, results: Results, tables: Path, figures: Path, workflow: Path, output: Path,
    summary: Path, times: Path,
) -> None:  # fmt: skip
    """Publish the page, its summary alone, and what the jobs took so far.

    `tables`, `figures` and `workflow` are the folders that the other rules made. Links are relative to the
    page, so the folder of the results can be moved as a whole.
    """
    scores = read_scores(recipe, results)
    time = read_times(results)
    said = summarise(measured_run(recipe, results, scores), results, time)
    write_times(time, times)
    write_text(to_markdown(said), summary)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("selflong.report", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    page = output.parent
    answers = list(worst_answers(recipe, results))
    anchors = {group.file: group.anchor for group in answers}
    drawn = [_figure(figure, figures, page) for figure in report_figures(recipe, results, scores)]
    text = environment.get_template(TEMPLATE).render(
        recipe=recipe,
        summary=said,
        time=time,
        times=_link(times, page),
        workflow={"image": embedded(workflow / "workflow.svg")},
        figures=drawn,
        tables=[
            _table(table, results.root, tables, page, anchors)
            for table in report_tables(recipe, results, scores)
        ],
        answers=[(group, _link(results.root / group.file, page)) for group in answers],
        assumptions=list(assumptions(recipe)),
        code=code_version(),
        versions={
            name: version
            for name, version in package_versions().items()
            if name.replace("-", "_") in SHOWN_PACKAGES
        },
        manifest=_link(results.manifest, page),
        crate=_link(results.crate, page),
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


def _table(
    table: Table, results: Path, folder: Path, page: Path, anchors: Mapping[str, str]
) -> dict[str, Any]:
    """anchors: file of predictions -> where its worst answers stand."""
    rows = [
        [
            _ShownCell(
                cell.text,
                _link(results / cell.file, page) if cell.file else None,
                f"{cell.samples} samples, {cell.file}" if cell.samples else cell.file or "",
                anchors.get(cell.file) if cell.file else None,
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
        "folded": len(rows) > MOST_ROWS,
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

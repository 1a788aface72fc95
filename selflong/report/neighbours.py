"""What a paper prints beside what was measured, table by table; and its figures from what was measured."""

import math
from collections.abc import Iterator, Sequence
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from selflong.drawing import MARKERS, ReportFigure, panels, plain, style
from selflong.recipe.report import Curve, Neighbour, PrintedTable, Report
from selflong.suites.measured import INTERVALS, Measured, three_rows
from selflong.tables import Cell, Table, score_cell


def tables(measured: Measured) -> Iterator[Table]:
    """Measured, published and their difference, for every printed table that the recipe names."""
    report = measured.recipe.report
    for name, section in report.printed.items():
        printed = measured.printed.filter(paper=report.paper, table=name)
        yield _beside(measured, name, section, printed)
    if reasons := _reasons(report):
        yield Table(
            name="not_measured",
            title=f"What {report.paper} prints and nothing here measures",
            caption="Tables and figures, and rows and columns of tables that are measured otherwise.",
            columns=("Where", "What", "Why"),
            rows=tuple(tuple(map(Cell, row)) for row in reasons),
        )


def _reasons(report: Report) -> list[tuple[str, str, str]]:
    """Table or figure, row or column of it, reason."""
    whole = [(name, "all", reason) for name, reason in report.not_measured.items()]
    return whole + [
        (name, part, reason)
        for name, section in report.printed.items()
        for part, reason in section.not_measured.items()
    ]


def _beside(measured: Measured, name: str, section: PrintedTable, printed: pl.DataFrame) -> Table:
    columns = _columns(section, printed)
    rows: list[tuple[Cell, ...]] = []
    for row, reference in section.rows.items():
        checkpoint = measured.recipe.resolve(reference)
        cells = [
            _score(measured, section.columns[metric], checkpoint, section.contexts.get(context))
            for metric, context in columns
        ]
        values = [_printed(printed, row, *column) for column in columns]
        rows += three_rows(row, cells, values)
    return Table(
        name=f"beside_{measured.recipe.report.paper}_{name}".lower(),
        title=f"{name} of {measured.recipe.report.paper}, measured and published",
        caption=f"Per cent. {INTERVALS}; that of a mean over tasks and lengths takes their errors as "
        "independent. An empty cell is not printed.",
        columns=("Row", "", *(f"{metric}, {context}" if section.contexts else metric
                              for metric, context in columns)),
        rows=tuple(rows),
    )  # fmt: skip


def _columns(section: PrintedTable, printed: pl.DataFrame) -> list[tuple[str, str]]:
    """(column, context) of the printed cells that have a neighbour, in the paper's order."""
    found = printed.select("metric", "context_length").unique(maintain_order=True).rows()
    return [column for column in found if column[0] in section.columns]


def _printed(printed: pl.DataFrame, row: str, metric: str, context: str) -> float | None:
    found = printed.filter(model=row, metric=metric, context_length=context)
    return None if found.is_empty() else float(found["value"][0])


def _score(measured: Measured, neighbour: Neighbour, checkpoint: str, length: int | None) -> Cell:
    """What is measured of a model at one length, or at the neighbour's own."""
    if neighbour.mean:
        return mean([_score(measured, part, checkpoint, length) for part in neighbour.mean])
    if neighbour.before:
        checkpoint = measured.recipe.start_of(checkpoint) or checkpoint
    own: list[int | None] = [*neighbour.lengths] or [None]
    lengths = own if length is None else [length]
    return mean(
        [
            measured.cell(str(neighbour.suite), checkpoint, task, at)
            for task in neighbour.tasks
            for at in lengths
        ]
    )


def mean(cells: Sequence[Cell]) -> Cell:
    """Mean of scores, each counting alike; the first that is none where one is none."""
    scores = []
    for cell in cells:
        if cell.value is None or cell.low is None or cell.high is None:
            return Cell(cell.text)
        scores.append((cell.value, cell.low, cell.high))
    if len(cells) == 1:
        return cells[0]
    middle = sum(score for score, _, _ in scores) / len(scores)
    below = math.hypot(*(score - low for score, low, _ in scores)) / len(scores)
    above = math.hypot(*(high - score for score, _, high in scores)) / len(scores)
    return score_cell(
        middle / 100, (middle - below) / 100, (middle + above) / 100,
        sum(cell.samples or 0 for cell in cells), cells[0].file,
    )  # fmt: skip


def _unit(measured: Measured, neighbour: Neighbour) -> str:
    suites = {str(part.suite) for part in neighbour.parts}
    return "perplexity" if any(map(measured.shows_perplexity, suites)) else "score (%)"


def figures(measured: Measured) -> Iterator[ReportFigure]:
    """Every curve of the recipe."""
    for name, curve in measured.recipe.report.curves.items():
        yield ReportFigure(
            name,
            curve.title,
            "What was measured, with 95% intervals; a model that did not run has no point.",
            partial(draw, measured, curve),
        )


def draw(measured: Measured, curve: Curve) -> Figure:
    """One panel a column of the curve, the quantity across."""
    columns, lengths = measured.recipe.report.drawn(curve)
    length = next(iter(lengths), None)
    count = len(columns)
    with style():
        figure, axes = panels(count, min(4, count), (2.4, 2.1), sharex=True)
        for axis, (column, neighbour) in zip(axes.flat, columns.items(), strict=False):
            found = [
                (point.at, cell.value, cell.value - cell.low, cell.high - cell.value)
                for point in curve.points
                for checkpoint in [measured.recipe.resolve(point.model)]
                for cell in [_score(measured, neighbour, checkpoint, length)]
                if cell.value is not None and cell.low is not None and cell.high is not None
            ]
            if found:
                at, scores, below, above = zip(*found, strict=True)
                axis.errorbar(at, scores, yerr=(below, above), marker=MARKERS[0], capsize=2)
            axis.set_title(plain(column), fontsize=9)
            axis.set_ylabel(_unit(measured, neighbour))
        for axis in axes[-1]:
            axis.set_xlabel(plain(curve.axis))
        figure.suptitle(plain(curve.title), fontsize=10)
    return figure

"""Tables and figures that kinds of suites share: the mean of the tasks, each task, against length."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import polars as pl
from matplotlib.figure import Figure

from selflong.drawing import Points, ReportFigure, lines_by_length
from selflong.formats import MEAN_OF_TASKS, SCORED, read_parquets
from selflong.scores import bootstrap_means, generator, interval, length_name
from selflong.suites.measured import INTERVALS, Measured, task_rows
from selflong.suites.section import SuiteSection
from selflong.tables import Cell, Table, number_cell, row_of, score_cell


def mean_by_length(
    measured: Measured, name: str, lengths: Sequence[int], title: str, caption: str
) -> Table:
    """The mean of a suite's tasks, a row a model and a column a length."""
    return Table(
        name=f"{name}_by_length",
        title=title,
        caption=f"{caption}. {INTERVALS}.",
        columns=("Model", *(length_name(length) for length in lengths)),
        rows=tuple(
            (Cell(measured.label(checkpoint)), *measured.mean_cells(name, checkpoint, lengths))
            for checkpoint in measured.checkpoints(name)
        ),
    )


def each_task(
    measured: Measured,
    name: str,
    lengths: Sequence[int],
    tasks: Sequence[str],
    title: str,
    caption: str = "Per cent",
) -> Table:
    """A row for each model and length, a column a task."""
    return Table(
        name=f"{name}_by_task",
        title=title,
        caption=f"{caption}. {INTERVALS}.",
        columns=("Model", "Length", *tasks),
        rows=task_rows(measured, name, lengths, tasks),
    )


def each_depth(measured: Measured, name: str, lengths: Sequence[int]) -> Iterator[Table]:
    """The mean of the tasks by the depth of what is looked for; nothing where no depth is known."""
    cells = measured.scores.filter(pl.col("depth").is_not_null(), suite=name)
    depths = sorted(cells["depth"].unique())
    found = {
        (model, length, depth): replace(number_cell(100 * mean, digits=1), samples=samples)
        for model, length, depth, mean, samples in cells.group_by("model", "length", "depth")
        .agg(pl.col("mean").mean(), pl.col("samples").sum())
        .rows()
    }
    if not depths:
        return
    counts = [cell.samples for cell in found.values() if cell.samples is not None]
    yield Table(
        name=f"{name}_by_depth",
        title="By depth of what is looked for",
        caption="Per cent, mean of the tasks that have a depth, each counting alike. Columns: the middle of "
        f"each tenth of the context, in per cent. A cell holds {min(counts)} to {max(counts)} samples, an "
        "empty one none.",
        columns=("Model", "Length", *(f"{100 * depth:.0f}" for depth in depths)),
        rows=tuple(
            row_of(
                measured.label(checkpoint),
                length_name(length),
                *(found.get((checkpoint, length, depth), "") for depth in depths),
            )
            for checkpoint in measured.checkpoints(name)
            for length in lengths
        ),
    )


def against_length(
    measured: Measured, name: str, suite: SuiteSection, measure: str, what: str
) -> ReportFigure:
    """The figure of a suite's mean, named after its kind. measure: of the axis; what: of the caption."""
    return ReportFigure(
        f"{name}_by_length",
        f"{suite.title} against length",
        f"{what} with 95% intervals by bootstrap over samples.",
        partial(
            mean_against_length, measured, name, suite.lengths, measure, f"{suite.title} by length"
        ),
    )


def mean_against_length(
    measured: Measured, name: str, lengths: Sequence[int], measure: str, title: str
) -> Figure:
    """The mean of a suite's tasks against length, a line a model, with 95% intervals."""
    lines = [
        (measured.label(checkpoint), points_of(measured, name, checkpoint, MEAN_OF_TASKS))
        for checkpoint in measured.checkpoints(name)
    ]
    return lines_by_length(lines, sorted(lengths), measure, title)


def points_of(measured: Measured, name: str, checkpoint: str, task: str) -> Points:
    """A checkpoint's scores in a task over all depths, by length, with their 95% intervals."""
    found = measured.scores.filter(
        pl.col("depth").is_null(), suite=name, model=checkpoint, task=task
    )
    return {
        length: (100 * mean, 100 * low, 100 * high)
        for length, mean, low, high in found.select("length", "mean", "low", "high").rows()
    }


def pooled_cell(
    measured: Measured, name: str, checkpoint: str, tasks: Sequence[str], length: int
) -> Cell:
    """The mean over all samples of some tasks, each counting alike; why there is none where it is missing."""
    found = read_parquets(measured.predictions.get(name, ()), SCORED).filter(
        pl.col("task").is_in(list(tasks)), model=checkpoint, length=length
    )
    whole = measured.cell(name, checkpoint, MEAN_OF_TASKS, length)
    if found.is_empty():
        return whole if whole.value is None else Cell("")
    scores = found.sort("task", "index")["score"].to_numpy()
    key = (name, checkpoint, tuple(tasks), length)
    low, high = interval(bootstrap_means(scores, generator(measured.recipe.seed, key)))
    return score_cell(float(scores.mean()), low, high, len(scores), whole.file)

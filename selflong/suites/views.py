"""Tables and figures that kinds of suites share: the mean of the tasks, each task, against length."""

from collections.abc import Sequence

import polars as pl
from matplotlib.figure import Figure

from selflong.drawing import lines_by_length
from selflong.formats import MEAN_OF_TASKS
from selflong.scores import length_name
from selflong.suites.measured import INTERVALS, Measured, task_rows
from selflong.tables import Cell, Table


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


def mean_against_length(
    measured: Measured, name: str, lengths: Sequence[int], measure: str, title: str
) -> Figure:
    """The mean of a suite's tasks against length, a line a model, with 95% intervals."""
    cells = measured.scores.filter(
        (pl.col("suite") == name) & (pl.col("task") == MEAN_OF_TASKS) & pl.col("depth").is_null()
    )
    lines = [
        (
            measured.label(checkpoint),
            {
                length: (100 * mean, 100 * low, 100 * high)
                for length, mean, low, high in cells.filter(pl.col("model") == checkpoint)
                .select("length", "mean", "low", "high")
                .rows()
            },
        )
        for checkpoint in measured.checkpoints(name)
    ]
    return lines_by_length(lines, sorted(lengths), measure, title)

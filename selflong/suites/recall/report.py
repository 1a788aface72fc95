"""The recall study's results: models that differ in their seed alone count as one, with its spread."""

from collections.abc import Iterator
from functools import partial

from matplotlib.figure import Figure

from selflong.drawing import ReportFigure, lines_by_length
from selflong.scores import length_name
from selflong.suites.measured import INTERVALS, Measured, repeats
from selflong.suites.recall.section import RecallSuite
from selflong.tables import Table, row_of


def tables(suite: RecallSuite, name: str, measured: Measured) -> Iterator[Table]:
    """Recall by model and length, over the seeds and for each of them."""
    lengths = tuple(length_name(length) for length in suite.lengths)
    groups = repeats(measured, name)
    yield Table(
        name=f"{name}_by_length",
        title="Recall by model and length",
        caption="Per cent of the needles asked for, mean over "
        f"{max(len(group.checkpoints) for group in groups)} seeds; in brackets the worst and the best "
        "seed. Every model reads the same sequences.",
        columns=("Model", *lengths),
        rows=tuple(
            row_of(group.label, *(group.cell(measured, name, length) for length in suite.lengths))
            for group in groups
        ),
    )
    yield Table(
        name=f"{name}_by_seed",
        title="Recall by seed",
        caption=f"Per cent of the needles asked for. {INTERVALS}.",
        columns=("Model", "Checkpoint", *lengths),
        rows=tuple(
            row_of(group.label, checkpoint, *measured.mean_cells(name, checkpoint, suite.lengths))
            for group in groups
            for checkpoint in group.checkpoints
        ),
    )


def figures(suite: RecallSuite, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """The mean over seeds against length."""
    yield ReportFigure(
        f"{name}_by_length",
        "Recall against length",
        "Mean over seeds, with the worst and the best of them.",
        partial(recall_by_length, measured, name, suite),
    )


def recall_by_length(measured: Measured, name: str, suite: RecallSuite) -> Figure:
    """Share of the needles recalled against length, one line for the models with one label."""
    lines = []
    for group in repeats(measured, name):
        points = {}
        for length in suite.lengths:
            cell = group.cell(measured, name, length)
            if cell.value is not None and cell.low is not None and cell.high is not None:
                points[length] = (cell.value, cell.low, cell.high)
        lines.append((group.label, points))
    return lines_by_length(
        lines, sorted(suite.lengths), "needles recalled (%)", "Recall by length, range over seeds"
    )

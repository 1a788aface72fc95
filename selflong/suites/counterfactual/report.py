"""The counterfactual probe's table and figure."""

from collections.abc import Iterator
from functools import partial

from matplotlib.figure import Figure

from selflong.drawing import ReportFigure, lines_by_length
from selflong.suites.counterfactual.section import EDITED, REMEMBERED, Counterfactual
from selflong.suites.measured import Measured
from selflong.suites.views import each_task, points_of
from selflong.tables import Table


def tables(suite: Counterfactual, name: str, measured: Measured) -> Iterator[Table]:
    """Each task by length."""
    yield each_task(
        measured,
        name,
        suite.lengths,
        suite.asked_tasks,
        "What is read and what is remembered",
        "Per cent of the questions. Original: answered by documents as they are. Edited: answered with what "
        "was put into the document in place of the answer. Remembered: answered with the old answer, which "
        "the prompt no longer holds",
    )


def figures(suite: Counterfactual, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """What is read and what is remembered, against length."""
    yield ReportFigure(
        f"{name}_by_length",
        "What is read and what is remembered",
        "Answers to documents that were edited: with what stands there, and with what stood there, with 95% "
        "intervals by bootstrap over samples.",
        partial(draw, measured, name, suite),
    )


def draw(measured: Measured, name: str, suite: Counterfactual) -> Figure:
    """Two lines a model."""
    lines = [
        (f"{measured.label(checkpoint)}, {what}", points_of(measured, name, checkpoint, task))
        for checkpoint in measured.checkpoints(name)
        for task, what in ((EDITED, "read"), (REMEMBERED, "remembered"))
    ]
    return lines_by_length(lines, sorted(suite.lengths), "questions (%)", "Edited documents")

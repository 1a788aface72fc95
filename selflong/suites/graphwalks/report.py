"""GraphWalks' tables and figure."""

from collections.abc import Iterator

from selflong.drawing import ReportFigure
from selflong.suites.graphwalks.section import GraphWalks
from selflong.suites.measured import Measured
from selflong.suites.views import against_length, each_task, mean_by_length
from selflong.tables import Table


def tables(suite: GraphWalks, name: str, measured: Measured) -> Iterator[Table]:
    """By length, and for each problem."""
    caption = (
        "F1 of the nodes named against the nodes reached, per cent, mean over the problems. A length holds "
        "the samples of more than half of it, counted with the model's own tokenizer"
    )
    title = "GraphWalks by model and length"
    yield mean_by_length(measured, name, suite.lengths, title, caption)
    yield each_task(measured, name, suite.lengths, suite.asked_tasks, "GraphWalks by problem")


def figures(suite: GraphWalks, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """The mean against length."""
    yield against_length(measured, name, suite, "F1 of the nodes (%)", "Mean over the problems")

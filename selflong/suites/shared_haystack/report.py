"""Tables and figure of the suite of shared haystacks."""

from collections.abc import Iterator

from selflong.drawing import ReportFigure
from selflong.suites.measured import Measured
from selflong.suites.shared_haystack.section import SharedHaystack
from selflong.suites.views import against_length, each_depth, each_task, mean_by_length
from selflong.tables import Table


def tables(suite: SharedHaystack, name: str, measured: Measured) -> Iterator[Table]:
    """By length, by task, by depth."""
    caption = (
        f"Per cent of what was asked for, mean over the tasks, {suite.questions} questions over each "
        "haystack; compare it with RULER's scores by their order alone. The intervals take the questions of "
        "a haystack as if they were of different ones"
    )
    title = "Shared haystacks by model and length"
    yield mean_by_length(measured, name, suite.lengths, title, caption)
    yield each_task(
        measured, name, suite.lengths, suite.asked_tasks, "Shared haystacks by task", "Per cent"
    )
    yield from each_depth(measured, name, suite.lengths)


def figures(suite: SharedHaystack, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """The mean against length."""
    measure = f"mean of {len(suite.tasks)} needle tasks (%)"
    yield against_length(measured, name, suite, measure, "Mean over the tasks")

"""MRCR's tables and figure."""

from collections.abc import Iterator

from selflong.drawing import ReportFigure
from selflong.suites.measured import Measured
from selflong.suites.mrcr.section import Mrcr
from selflong.suites.views import against_length, each_depth, each_task, mean_by_length
from selflong.tables import Table

MEASURE = "likeness to the n-th answer (%)"


def tables(suite: Mrcr, name: str, measured: Measured) -> Iterator[Table]:
    """By length, for each number of needles, by depth."""
    caption = (
        "Likeness of the answer to the piece that was asked for (difflib's ratio, per cent, 0 without "
        "the marker), mean over the numbers of needles. A length holds the samples of more than half of it, "
        "counted with the model's own tokenizer"
    )
    title = "MRCR by model and length"
    yield mean_by_length(measured, name, suite.lengths, title, caption)
    yield each_task(measured, name, suite.lengths, suite.asked_tasks, "MRCR by number of needles")
    yield from each_depth(measured, name, suite.lengths)


def figures(suite: Mrcr, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """The mean against length."""
    yield against_length(measured, name, suite, MEASURE, "Mean over the numbers of needles")

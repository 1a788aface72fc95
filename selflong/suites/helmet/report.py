"""HELMET's table."""

from collections.abc import Iterator

from selflong.drawing import ReportFigure
from selflong.suites.helmet.section import Helmet
from selflong.suites.measured import INTERVALS, Measured, task_rows
from selflong.tables import Table


def tables(suite: Helmet, name: str, measured: Measured) -> Iterator[Table]:
    """HELMET's datasets by model and length."""
    yield Table(
        name=f"{name}_by_task",
        title="HELMET by dataset",
        caption=f"Per cent, each dataset by the metric that the recipe names. {INTERVALS}.",
        columns=("Model", "Length", *suite.tasks),
        rows=task_rows(measured, name, suite.lengths, list(suite.tasks)),
    )


def figures(suite: Helmet, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """None: its datasets have metrics of their own, which no line joins."""
    return iter(())

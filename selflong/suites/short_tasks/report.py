"""The table of the short tasks."""

from collections.abc import Iterator

from selflong.drawing import ReportFigure
from selflong.suites.measured import INTERVALS, Measured, three_rows
from selflong.suites.short_tasks.section import ShortTasks
from selflong.tables import Cell, Table


def tables(suite: ShortTasks, name: str, measured: Measured) -> Iterator[Table]:
    """Short tasks by model, beside SelfLong's Table 4 where it names the model."""
    beside = measured.recipe.report.paper == "SelfLong"
    rows: list[tuple[Cell, ...]] = []
    for checkpoint in measured.checkpoints(name):
        label = measured.label(checkpoint)
        cells = [measured.cell(name, checkpoint, task, None) for task in suite.tasks]
        published_name = measured.published_name(checkpoint)
        if beside and published_name:
            values = [
                measured.published_value("Table4", published_name, task, "short")
                for task in suite.tasks
            ]
            rows += three_rows(label, cells, values)
        else:
            rows.append((Cell(label), Cell("measured"), *cells))
    yield Table(
        name=f"{name}_by_model",
        title="Short tasks",
        caption="Per cent, by lm-evaluation-harness with the checkpoint's chat template"
        + (f", the first {suite.limit} samples of each task" if suite.limit else "")
        + f". {INTERVALS}. An empty cell is one that the sources of the published table do not hold.",
        columns=("Model", "", *suite.tasks),
        rows=tuple(rows),
    )


def figures(suite: ShortTasks, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """None: they have no lengths."""
    return iter(())

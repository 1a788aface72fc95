"""The table of a suite of lm-evaluation-harness."""

from collections.abc import Iterator

from selflong.drawing import ReportFigure
from selflong.suites.lm_eval.section import LmEval
from selflong.suites.measured import INTERVALS, Measured, three_rows
from selflong.suites.views import each_task
from selflong.tables import Cell, Table


def tables(suite: LmEval, name: str, measured: Measured) -> Iterator[Table]:
    """Tasks by model and length; without lengths beside SelfLong's Table 4 where it names the model."""
    if suite.lengths:
        yield each_task(
            measured,
            name,
            suite.lengths,
            list(suite.tasks),
            title="Tasks of lm-evaluation-harness by length",
            caption=f"{_conditions(suite)}; a longer prompt loses its beginning",
        )
    else:
        yield Table(
            name=f"{name}_by_model",
            title="Short tasks",
            caption=f"{_conditions(suite)}. {INTERVALS}. An empty cell is one that the sources of the "
            "published table do not hold.",
            columns=("Model", "", *suite.tasks),
            rows=tuple(_rows(suite, name, measured)),
        )


def _conditions(suite: LmEval) -> str:
    template = "the checkpoint's" if suite.chat_template else "no"
    said = [f"Per cent, by lm-evaluation-harness with {template} chat template"]
    said += [
        f"{title} with {task.shots} shots"
        for title, task in suite.tasks.items()
        if task.shots is not None
    ]
    if suite.system_prompt is not None:
        said.append("with a system prompt of the recipe")
    if suite.reasoning_end is not None:
        said.append(f"what stands before {suite.reasoning_end} is not scored")
    if suite.limit is not None:
        said.append(f"the first {suite.limit} samples of each task")
    return ", ".join(said)


def _rows(suite: LmEval, name: str, measured: Measured) -> Iterator[tuple[Cell, ...]]:
    beside = measured.recipe.report.paper == "SelfLong"
    for checkpoint in measured.checkpoints(name):
        label = measured.label(checkpoint)
        cells = [measured.cell(name, checkpoint, task, None) for task in suite.tasks]
        published_name = measured.published_name(checkpoint)
        if beside and published_name:
            values = [
                measured.published_value("Table4", published_name, task, "short")
                for task in suite.tasks
            ]
            yield from three_rows(label, cells, values)
        else:
            yield (Cell(label), Cell("measured"), *cells)


def figures(suite: LmEval, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """None: its tasks have metrics of their own, which no line joins."""
    return iter(())

"""LongBench v2's tables and figure."""

from collections.abc import Iterator

from selflong.drawing import ReportFigure
from selflong.scores import length_name
from selflong.suites.longbench_v2.section import CONTEXTS, DIFFICULTIES, LongBenchV2
from selflong.suites.measured import INTERVALS, Measured
from selflong.suites.views import against_length, each_task, mean_by_length, pooled_cell
from selflong.tables import Table, row_of


def tables(suite: LongBenchV2, name: str, measured: Measured) -> Iterator[Table]:
    """By length, by difficulty and context as the authors show it, and by both."""
    how = "with a chain of thought" if suite.chain_of_thought else "without a chain of thought"
    title = f"LongBench v2 by model and length ({how})"
    caption = (
        "Accuracy over all questions, per cent, greedy; no choice named counts as wrong (25 is chance). "
        "A length is the most tokens of a prompt, which loses its middle beyond"
    )
    yield mean_by_length(measured, name, suite.lengths, title, caption)
    yield by_group(measured, name, suite, how)
    yield each_task(
        measured, name, suite.lengths, suite.asked_tasks,
        f"LongBench v2 by context and difficulty ({how})", "Accuracy, per cent",
    )  # fmt: skip


def by_group(measured: Measured, name: str, suite: LongBenchV2, how: str) -> Table:
    """The columns of the authors' table."""
    groups = {
        **{each: [t for t in suite.asked_tasks if t.endswith(each)] for each in DIFFICULTIES},
        **{each: [t for t in suite.asked_tasks if t.startswith(each)] for each in CONTEXTS},
    }
    return Table(
        name=f"{name}_by_group",
        title=f"LongBench v2 by difficulty and by context ({how})",
        caption=f"Accuracy, per cent. {INTERVALS}.",
        columns=("Model", "Length", "overall", *groups),
        rows=tuple(
            row_of(
                measured.label(checkpoint),
                length_name(length),
                *measured.mean_cells(name, checkpoint, [length]),
                *(
                    pooled_cell(measured, name, checkpoint, tasks, length)
                    for tasks in groups.values()
                ),
            )
            for checkpoint in measured.checkpoints(name)
            for length in suite.lengths
        ),
    )


def figures(suite: LongBenchV2, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """Accuracy against length."""
    yield against_length(measured, name, suite, "accuracy (%)", "Accuracy over all questions")

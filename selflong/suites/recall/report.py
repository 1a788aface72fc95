"""The recall study's results: models that differ in their seed alone count as one, with its spread."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from selflong.drawing import ReportFigure, lines_by_length
from selflong.formats import MEAN_OF_TASKS
from selflong.scores import length_name
from selflong.suites.measured import INTERVALS, Measured
from selflong.suites.recall.section import RecallSuite
from selflong.tables import Cell, Table, score_cell


@dataclass(frozen=True)
class Repeats:
    """Checkpoints with one label: the same training from different seeds."""

    label: str
    checkpoints: tuple[str, ...]

    def cell(self, measured: Measured, name: str, length: int) -> Cell:
        """Mean over the seeds with the worst and the best of them."""
        cells = [
            measured.cell(name, checkpoint, MEAN_OF_TASKS, length)
            for checkpoint in self.checkpoints
        ]
        scores = [cell.value / 100 for cell in cells if cell.value is not None]
        if len(scores) < len(cells):
            return Cell(next(cell.text for cell in cells if cell.value is None))
        samples = sum(cell.samples or 0 for cell in cells)
        return score_cell(
            float(np.mean(scores)), min(scores), max(scores), samples, file=f"evaluation/{name}"
        )


def repeats(measured: Measured, name: str) -> list[Repeats]:
    """A suite's checkpoints by label, in the recipe's order."""
    found: dict[str, list[str]] = {}
    for checkpoint in measured.checkpoints(name):
        found.setdefault(measured.label(checkpoint), []).append(checkpoint)
    return [Repeats(label, tuple(checkpoints)) for label, checkpoints in found.items()]


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
            (
                Cell(group.label),
                *(group.cell(measured, name, length) for length in suite.lengths),
            )
            for group in groups
        ),
    )
    yield Table(
        name=f"{name}_by_seed",
        title="Recall by seed",
        caption=f"Per cent of the needles asked for. {INTERVALS}.",
        columns=("Model", "Checkpoint", *lengths),
        rows=tuple(
            (
                Cell(group.label),
                Cell(checkpoint),
                *measured.mean_cells(name, checkpoint, suite.lengths),
            )
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

"""The recall study's results: models that differ in their seed alone count as one, with its spread."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from selflong.formats import MEAN_OF_TASKS
from selflong.report.results import INTERVALS, Measured
from selflong.report.tables import Cell, Table, score_cell
from selflong.scores import length_name
from selflong.suites.recall.section import RecallSuite


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


def recall_tables(measured: Measured, name: str, suite: RecallSuite) -> Iterator[Table]:
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
                *(
                    measured.cell(name, checkpoint, MEAN_OF_TASKS, length)
                    for length in suite.lengths
                ),
            )
            for group in groups
            for checkpoint in group.checkpoints
        ),
    )

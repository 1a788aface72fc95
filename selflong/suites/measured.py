"""Scores of a run, as the tables of every kind of suite show them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from selflong.formats import MEAN_OF_TASKS
from selflong.recipe.models import INITIAL
from selflong.recipe.recipe import Recipe
from selflong.recipe.weights import EndpointWeights
from selflong.scores import length_name
from selflong.tables import (
    NOT_ASKED,
    NOT_RUN,
    NOT_SUPPORTED,
    Cell,
    difference_cell,
    number_cell,
    perplexity_cell,
    row_of,
    score_cell,
)

INTERVALS = "In brackets the 95% interval by bootstrap over samples"


@dataclass(frozen=True)
class Measured:
    """Scores of a run with the recipe that made them."""

    recipe: Recipe
    scores: pl.DataFrame
    """formats.SCORES"""
    printed: pl.DataFrame
    """Cells that papers print, by the columns paper, table, model, metric, context_length and value."""
    predictions: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """Suite -> files of its predictions, for what scores do not hold."""

    def cell(self, suite: str, checkpoint: str, task: str, length: int | None) -> Cell:
        """One score over all depths, or why there is none."""
        found = self.scores.filter(
            pl.col("length").eq_missing(length),
            pl.col("depth").is_null(),
            suite=suite,
            model=checkpoint,
            task=task,
        )
        if not found.is_empty():
            row = found.row(0, named=True)
            cell = perplexity_cell if self.shows_perplexity(suite) else score_cell
            return cell(row["mean"], row["low"], row["high"], row["samples"], file=row["files"][0])
        return Cell(self._why_not(suite, checkpoint, length))

    def _why_not(self, suite: str, checkpoint: str, length: int | None) -> str:
        """Why there is no score of a checkpoint at a length."""
        model = self.recipe.models.get(checkpoint.partition("/")[0])
        if model is None or length is None:
            return NOT_RUN
        if model.supports is not None and length > model.supports:
            return NOT_SUPPORTED
        asked = self.recipe.asked(suite, checkpoint)
        return NOT_RUN if asked is not None and length in asked.lengths else NOT_ASKED

    def shows_perplexity(self, suite: str) -> bool:
        """Whether a suite's cells are perplexities, not per cent."""
        return self.recipe.suites[suite].scores_are_perplexities

    def checkpoints(self, suite: str) -> list[str]:
        """'<model>/<stage>' of a suite in the recipe's order, then models whose predictions were stored."""
        asked = [self.recipe.resolve(name) for name in self.recipe.suites[suite].models]
        found = self.scores.filter(suite=suite)["model"].unique().to_list()
        return asked + sorted(set(found) - set(asked))

    def label(self, checkpoint: str) -> str:
        """How a table names a checkpoint."""
        name, _, stage = checkpoint.partition("/")
        if name not in self.recipe.models or checkpoint not in set(self.recipe.checkpoints()):
            return f"{checkpoint} (stored predictions)"
        model = self.recipe.models[name]
        label = f"{model.label} ({model.chat.note})" if model.chat else model.label
        if isinstance(model.weights, EndpointWeights):
            return f"{label} (endpoint's own chat template, no answer prefix)"
        last = checkpoint == self.recipe.last_checkpoint(name)
        return label if last or stage == INITIAL else f"{label}, after {stage}"

    def published_name(self, checkpoint: str) -> str | None:
        """Name in the published tables of a model that its last stage stands for."""
        name = checkpoint.partition("/")[0]
        model = self.recipe.models.get(name)
        whole = model is not None and checkpoint == self.recipe.last_checkpoint(name)
        return model.published if model and whole else None

    def published_value(self, table: str, model: str, metric: str, context: str) -> float | None:
        """A cell of a SelfLong table as a number; None where the paper, as far as known, prints none."""
        found = self.printed.filter(
            paper="SelfLong", table=table, model=model, metric=metric, context_length=context
        )
        return None if found.is_empty() else float(found["value"][0])

    def mean_cells(self, suite: str, checkpoint: str, lengths: Sequence[int]) -> list[Cell]:
        """The mean of the tasks at each length."""
        return [self.cell(suite, checkpoint, MEAN_OF_TASKS, length) for length in lengths]


def task_rows(
    measured: Measured, name: str, lengths: Sequence[int], tasks: Sequence[str]
) -> tuple[tuple[Cell, ...], ...]:
    """A row for each model and length, a column for each task."""
    return tuple(
        row_of(
            measured.label(checkpoint),
            length_name(length),
            *(measured.cell(name, checkpoint, task, length) for task in tasks),
        )
        for checkpoint in measured.checkpoints(name)
        for length in lengths
    )


def three_rows(
    label: str, cells: Sequence[Cell], values: Sequence[float | None]
) -> Iterator[tuple[Cell, ...]]:
    """Measured, published and their difference."""
    printed = ("" if value is None else number_cell(value, digits=1) for value in values)
    differences = (
        "" if value is None or cell.value is None else difference_cell(cell, value)
        for cell, value in zip(cells, values, strict=True)
    )
    yield row_of(label, "measured", *cells)
    yield row_of(label, "published", *printed)
    yield row_of(label, "difference", *differences)


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

"""What the evaluation measured, as tables: by model and length, by task, beside the published cells."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from selflong.formats import MEAN_OF_TASKS
from selflong.recipe.models import INITIAL
from selflong.recipe.recipe import Recipe
from selflong.recipe.suites import Suite
from selflong.report import published
from selflong.report.tables import (
    NOT_RUN,
    NOT_SUPPORTED,
    Cell,
    Table,
    difference_cell,
    number_cell,
    score_cell,
)
from selflong.scores import length_name
from selflong.suites.helmet.section import Helmet
from selflong.suites.needle_grid.section import NeedleGrid
from selflong.suites.output_length.section import OutputLength
from selflong.suites.published_ruler.section import PublishedRulerSuite
from selflong.suites.ruler.section import RULER_TASKS, RulerSuite
from selflong.suites.short_tasks.section import ShortTasks

INTERVALS = "In brackets the 95% interval by bootstrap over samples"


@dataclass(frozen=True)
class Measured:
    """Scores of a run with the recipe that made them."""

    recipe: Recipe
    scores: pl.DataFrame
    """formats.SCORES"""

    def cell(self, suite: str, checkpoint: str, task: str, length: int | None) -> Cell:
        """One score over all depths, or why there is none."""
        found = self.scores.filter(
            (pl.col("suite") == suite)
            & (pl.col("model") == checkpoint)
            & (pl.col("task") == task)
            & pl.col("length").eq_missing(length)
            & pl.col("depth").is_null()
        )
        if not found.is_empty():
            row = found.row(0, named=True)
            return score_cell(
                row["mean"], row["low"], row["high"], row["samples"], file=row["files"][0]
            )
        model = self.recipe.models.get(checkpoint.partition("/")[0])
        limit = model.supports if model else None
        beyond = limit is not None and length is not None and length > limit
        return Cell(NOT_SUPPORTED if beyond else NOT_RUN)

    def checkpoints(self, suite: str) -> list[str]:
        """'<model>/<stage>' of a suite in the recipe's order, then models whose predictions were stored."""
        asked = [self.recipe.resolve(name) for name in self.recipe.suites[suite].models]
        found = self.scores.filter(pl.col("suite") == suite)["model"].unique().to_list()
        return asked + sorted(set(found) - set(asked))

    def label(self, checkpoint: str) -> str:
        """How a table names a checkpoint."""
        name, _, stage = checkpoint.partition("/")
        if name not in self.recipe.models or checkpoint not in set(self.recipe.checkpoints()):
            return f"{checkpoint} (stored predictions)"
        label = self.recipe.models[name].label
        last = checkpoint == self.recipe.last_checkpoint(name)
        return label if last or stage == INITIAL else f"{label}, after {stage}"

    def published_name(self, checkpoint: str) -> str | None:
        """Name in the published tables of a model that its last stage stands for."""
        name = checkpoint.partition("/")[0]
        model = self.recipe.models.get(name)
        whole = model is not None and checkpoint == self.recipe.last_checkpoint(name)
        return model.published if model and whole else None


def result_tables(
    measured: Measured, printed: pl.DataFrame, writing: pl.DataFrame | None
) -> list[Table]:
    """Every table that the evaluation fills; `writing` holds the predictions of output-length suites."""
    tables: list[Table] = []
    for name, suite in measured.recipe.suites.items():
        if isinstance(suite, RulerSuite | PublishedRulerSuite):
            tables.append(ruler_by_length(measured, name, suite))
            tables.append(ruler_by_task(measured, name, suite))
            if beside := ruler_beside_published(measured, name, suite, printed):
                tables.append(beside)
            if ablation := ruler_ablation(measured, name, suite, printed):
                tables.append(ablation)
        elif isinstance(suite, NeedleGrid):
            tables.append(needle_by_length(measured, name, suite))
        elif isinstance(suite, OutputLength):
            tables.append(output_length(measured, name, suite, writing))
        elif isinstance(suite, Helmet):
            tables.append(helmet_by_task(measured, name, suite))
        elif isinstance(suite, ShortTasks):
            tables.append(short_tasks(measured, name, suite, printed))
    return tables


# ------------------------------------------------------------------------------------------- RULER


def convention(suite: RulerSuite | PublishedRulerSuite) -> str:
    """Which prompts a RULER suite asks."""
    return suite.convention if isinstance(suite, RulerSuite) else "published prompts"


def ruler_tasks(suite: RulerSuite | PublishedRulerSuite) -> tuple[str, ...]:
    """Tasks of a RULER suite."""
    return tuple(suite.tasks) if isinstance(suite, RulerSuite) else RULER_TASKS


def comparable(suite: Suite) -> bool:
    """Whether a suite's scores may stand beside SelfLong's: its published prompts, or the code of its time.

    The published prompts "128k" hold 128,000 tokens, so lengths must be whole thousands, and the mean must be
    that of all 13 tasks.
    """
    if isinstance(suite, PublishedRulerSuite):
        return True
    return (
        isinstance(suite, RulerSuite)
        and suite.convention == "ruler_2024"
        and set(suite.tasks) == set(RULER_TASKS)
        and all(length % 1000 == 0 for length in suite.lengths)
    )


def ruler_by_length(
    measured: Measured, name: str, suite: RulerSuite | PublishedRulerSuite
) -> Table:
    """RULER, mean of the suite's tasks, by model and length."""
    tasks = ruler_tasks(suite)
    which = "all 13 tasks" if len(tasks) == len(RULER_TASKS) else ", ".join(tasks)
    return Table(
        name=f"{name}_by_length",
        title=f"RULER by model and length ({convention(suite)})",
        caption=f"Per cent, mean over {which}, each task counting alike. {INTERVALS}.",
        columns=("Model", *(length_name(length) for length in suite.lengths)),
        rows=tuple(
            (
                Cell(measured.label(checkpoint)),
                *(
                    measured.cell(name, checkpoint, MEAN_OF_TASKS, length)
                    for length in suite.lengths
                ),
            )
            for checkpoint in measured.checkpoints(name)
        ),
    )


def ruler_by_task(measured: Measured, name: str, suite: RulerSuite | PublishedRulerSuite) -> Table:
    """RULER, each task by model and length."""
    tasks = ruler_tasks(suite)
    return Table(
        name=f"{name}_by_task",
        title=f"RULER by task ({convention(suite)})",
        caption=f"Per cent. {INTERVALS}.",
        columns=("Model", "Length", *tasks),
        rows=_task_rows(measured, name, suite.lengths, tasks),
    )


def _task_rows(
    measured: Measured, name: str, lengths: Sequence[int], tasks: Sequence[str]
) -> tuple[tuple[Cell, ...], ...]:
    """A row for each model and length, a column for each task."""
    return tuple(
        (
            Cell(measured.label(checkpoint)),
            Cell(length_name(length)),
            *(measured.cell(name, checkpoint, task, length) for task in tasks),
        )
        for checkpoint in measured.checkpoints(name)
        for length in lengths
    )


def ruler_beside_published(
    measured: Measured, name: str, suite: RulerSuite | PublishedRulerSuite, printed: pl.DataFrame
) -> Table | None:
    """Measured, published and their difference, for models that SelfLong's Table 1 names."""
    pairs = [
        (measured.label(checkpoint), checkpoint, published_name)
        for checkpoint in measured.checkpoints(name)
        if (published_name := measured.published_name(checkpoint))
    ]
    if not comparable(suite) or not pairs:
        return None
    return Table(
        name=f"{name}_beside_published",
        title=f"RULER beside SelfLong's Table 1 ({convention(suite)})",
        caption=f"Per cent, mean of 13 tasks. {INTERVALS}; the difference carries that of the "
        "measurement, as none is published. An empty cell is one that the paper does not print.",
        columns=("Model", "", *(length_name(length) for length in suite.lengths)),
        rows=tuple(
            row
            for label, checkpoint, published_name in pairs
            for row in _beside(measured, name, suite, label, checkpoint, printed, "Table1",
                               published_name)
        ),
    )  # fmt: skip


def ruler_ablation(
    measured: Measured, name: str, suite: RulerSuite | PublishedRulerSuite, printed: pl.DataFrame
) -> Table | None:
    """The rows of the recipe's ablation, beside SelfLong's Table 3 where the suite is comparable."""
    rows = measured.recipe.report.ablation
    asked = set(measured.checkpoints(name))
    if not rows or not asked & {measured.recipe.resolve(reference) for reference in rows.values()}:
        return None
    beside = comparable(suite) and measured.recipe.report.paper == "SelfLong"
    variants = {row: variant for variant, row in published.ABLATION_ROWS.items()} if beside else {}
    lengths = [length_name(length) for length in suite.lengths]
    body: list[tuple[Cell, ...]] = []
    for row, reference in rows.items():
        checkpoint = measured.recipe.resolve(reference)
        if row in variants:
            body += _beside(
                measured, name, suite, row, checkpoint, printed, "Table3", variants[row]
            )
        else:
            cells = _measured_row(measured, name, suite, checkpoint)
            body.append((Cell(row), *([Cell("measured")] if beside else []), *cells))
    return Table(
        name=f"{name}_ablation",
        title=f"Ablation, RULER by length ({convention(suite)})",
        caption=f"Per cent, mean over the suite's tasks. {INTERVALS}."
        + (" An empty cell is one that the paper does not print." if beside else ""),
        columns=("Variant", *([""] if beside else []), *lengths),
        rows=tuple(body),
    )


def _measured_row(
    measured: Measured, name: str, suite: RulerSuite | PublishedRulerSuite, checkpoint: str
) -> list[Cell]:
    return [measured.cell(name, checkpoint, MEAN_OF_TASKS, length) for length in suite.lengths]


def _beside(
    measured: Measured,
    name: str,
    suite: RulerSuite | PublishedRulerSuite,
    label: str,
    checkpoint: str,
    printed: pl.DataFrame,
    table: str,
    published_name: str,
) -> Iterator[tuple[Cell, ...]]:
    """Three rows: measured, published, difference."""
    values = [
        published.value(
            printed, table, published_name, published.RULER_AVERAGE, length_name(length)
        )
        for length in suite.lengths
    ]
    yield from _three_rows(label, _measured_row(measured, name, suite, checkpoint), values)


def _three_rows(
    label: str, cells: Sequence[Cell], values: Sequence[float | None]
) -> Iterator[tuple[Cell, ...]]:
    yield (Cell(label), Cell("measured"), *cells)
    yield (Cell(label), Cell("published"), *(_published_cell(value) for value in values))
    yield (
        Cell(label),
        Cell("difference"),
        *(
            Cell("") if value is None or cell.value is None else difference_cell(cell, value)
            for cell, value in zip(cells, values, strict=True)
        ),
    )


def _published_cell(value: float | None) -> Cell:
    return Cell("") if value is None else number_cell(value, digits=1)


# ------------------------------------------------------------------------------------ other suites


def needle_by_length(measured: Measured, name: str, suite: NeedleGrid) -> Table:
    """Needle recall by model, at most seven lengths of the grid, and over all of it."""
    step = max(1, -(-len(suite.lengths) // 7))
    lengths = suite.lengths[::-1][::step][::-1]
    return Table(
        name=f"{name}_by_length",
        title="Needle in a haystack, mean over depths",
        caption=f"Per cent of the needle's keywords in the answer, over {suite.depths} depths. "
        f"{INTERVALS}. The figure shows the whole grid.",
        columns=("Model", *(length_name(length) for length in lengths)),
        rows=tuple(
            (
                Cell(measured.label(checkpoint)),
                *(measured.cell(name, checkpoint, MEAN_OF_TASKS, length) for length in lengths),
            )
            for checkpoint in measured.checkpoints(name)
        ),
    )


def helmet_by_task(measured: Measured, name: str, suite: Helmet) -> Table:
    """HELMET's datasets by model and length."""
    return Table(
        name=f"{name}_by_task",
        title="HELMET by dataset",
        caption=f"Per cent, each dataset by the metric that the recipe names. {INTERVALS}.",
        columns=("Model", "Length", *suite.tasks),
        rows=_task_rows(measured, name, suite.lengths, list(suite.tasks)),
    )


def output_length(
    measured: Measured, name: str, suite: OutputLength, writing: pl.DataFrame | None
) -> Table:
    """Mean number of words written where `length` words were asked for, and the length score."""
    produced: dict[tuple[Any, ...], float] = {}
    if writing is not None:
        words = pl.col("prediction").str.count_matches(r"\S+")
        means = (
            writing.filter(pl.col("suite") == name)
            .group_by("model", "length")
            .agg(words.mean().alias("words"))
        )
        produced = {(model, length): mean for model, length, mean in means.rows()}
    rows: list[tuple[Cell, ...]] = []
    for checkpoint in measured.checkpoints(name):
        scores = [
            measured.cell(name, checkpoint, MEAN_OF_TASKS, length) for length in suite.lengths
        ]
        written = [
            number_cell(produced[checkpoint, length], file=score.file)
            if (checkpoint, length) in produced
            else Cell(score.text)
            for length, score in zip(suite.lengths, scores, strict=True)
        ]
        label = Cell(measured.label(checkpoint))
        rows += [(label, Cell("words written"), *written), (label, Cell("length score"), *scores)]
    return Table(
        name=f"{name}_by_length",
        title="Length asked for and length produced",
        caption="Columns: words asked for. The length score is 100 where they are met and falls to 0 "
        f"at four times as many, or a third. {INTERVALS}.",
        columns=("Model", "", *(f"{length:,}" for length in suite.lengths)),
        rows=tuple(rows),
    )


def short_tasks(measured: Measured, name: str, suite: ShortTasks, printed: pl.DataFrame) -> Table:
    """Short tasks by model, beside SelfLong's Table 4 where it names the model."""
    beside = measured.recipe.report.paper == "SelfLong"
    rows: list[tuple[Cell, ...]] = []
    for checkpoint in measured.checkpoints(name):
        label = measured.label(checkpoint)
        cells = [measured.cell(name, checkpoint, task, None) for task in suite.tasks]
        published_name = measured.published_name(checkpoint)
        if beside and published_name:
            values = [
                published.value(printed, "Table4", published_name, task, "short")
                for task in suite.tasks
            ]
            rows += _three_rows(label, cells, values)
        else:
            rows.append((Cell(label), Cell("measured"), *cells))
    return Table(
        name=f"{name}_by_model",
        title="Short tasks",
        caption="Per cent, by lm-evaluation-harness with the checkpoint's chat template"
        + (f", the first {suite.limit} samples of each task" if suite.limit else "")
        + f". {INTERVALS}. An empty cell is one that the sources of the published table do not hold.",
        columns=("Model", "", *suite.tasks),
        rows=tuple(rows),
    )

"""RULER's tables and figures, for its own prompts and for the published ones (`published_ruler`)."""

from collections.abc import Iterator
from functools import partial

from selflong.drawing import ReportFigure
from selflong.scores import length_name
from selflong.suites.measured import INTERVALS, Measured, three_rows
from selflong.suites.ruler.section import RULER_TASKS, AnyRuler
from selflong.suites.views import each_task, mean_against_length, mean_by_length
from selflong.tables import Cell, Table

RULER_AVERAGE = "RULER-13task-avg"

# Table 3 of SelfLong prints variants of one model; on the right the row of a recipe's `report.ablation`.
ABLATION_ROWS = {
    "full": "full",
    "adjusted_rope_theta_only_no_training": "rope base only",
    "short_data_only_le4k": "short data only",
    "without_synthetic_data": "without synthetic data",
    "generator_llama3.1_8b_instruct": "weaker generator",
    "mask_prompt_tokens": "prompt tokens masked",
}


def tables(suite: AnyRuler, name: str, measured: Measured) -> Iterator[Table]:
    """By length, by task, and where there is something to compare beside the paper and as an ablation."""
    yield by_length(measured, name, suite)
    title = f"RULER by task ({suite.which_prompts})"
    yield each_task(measured, name, suite.lengths, suite.asked_tasks, title)
    if beside := beside_published(measured, name, suite):
        yield beside
    if rows := ablation(measured, name, suite):
        yield rows


def figures(suite: AnyRuler, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """The mean against length."""
    measure = f"RULER, mean of {len(suite.asked_tasks)} tasks (%)"
    title = f"RULER by length ({suite.which_prompts}), 95% intervals"
    yield ReportFigure(
        f"{name}_by_length",
        "RULER against length",
        "Mean of the suite's tasks with 95% intervals by bootstrap over samples.",
        partial(mean_against_length, measured, name, suite.lengths, measure, title),
    )


def by_length(measured: Measured, name: str, suite: AnyRuler) -> Table:
    """RULER, mean of the suite's tasks, by model and length."""
    tasks = suite.asked_tasks
    which = "all 13 tasks" if len(tasks) == len(RULER_TASKS) else ", ".join(tasks)
    return mean_by_length(
        measured,
        name,
        suite.lengths,
        title=f"RULER by model and length ({suite.which_prompts})",
        caption=f"Per cent, mean over {which}, each task counting alike",
    )


def beside_published(measured: Measured, name: str, suite: AnyRuler) -> Table | None:
    """Measured, published and their difference, for models that SelfLong's Table 1 names."""
    pairs = [
        (measured.label(checkpoint), checkpoint, published_name)
        for checkpoint in measured.checkpoints(name)
        if (published_name := measured.published_name(checkpoint))
    ]
    if not suite.comparable or not pairs:
        return None
    return Table(
        name=f"{name}_beside_published",
        title=f"RULER beside SelfLong's Table 1 ({suite.which_prompts})",
        caption=f"Per cent, mean of 13 tasks. {INTERVALS}; the difference carries that of the "
        "measurement, as none is published. An empty cell is one that the paper does not print.",
        columns=("Model", "", *(length_name(length) for length in suite.lengths)),
        rows=tuple(
            row
            for label, checkpoint, published_name in pairs
            for row in _beside(measured, name, suite, label, checkpoint, "Table1",
                               published_name)
        ),
    )  # fmt: skip


def ablation(measured: Measured, name: str, suite: AnyRuler) -> Table | None:
    """The rows of the recipe's ablation, beside SelfLong's Table 3 where the suite is comparable."""
    rows = measured.recipe.report.ablation
    asked = set(measured.checkpoints(name))
    if not rows or not asked & {measured.recipe.resolve(reference) for reference in rows.values()}:
        return None
    beside = suite.comparable and measured.recipe.report.paper == "SelfLong"
    variants = {row: variant for variant, row in ABLATION_ROWS.items()} if beside else {}
    lengths = [length_name(length) for length in suite.lengths]
    body: list[tuple[Cell, ...]] = []
    for row, reference in rows.items():
        checkpoint = measured.recipe.resolve(reference)
        if row in variants:
            body += _beside(measured, name, suite, row, checkpoint, "Table3", variants[row])
        else:
            cells = measured.mean_cells(name, checkpoint, suite.lengths)
            body.append((Cell(row), *([Cell("measured")] if beside else []), *cells))
    return Table(
        name=f"{name}_ablation",
        title=f"Ablation, RULER by length ({suite.which_prompts})",
        caption=f"Per cent, mean over the suite's tasks. {INTERVALS}."
        + (" An empty cell is one that the paper does not print." if beside else ""),
        columns=("Variant", *([""] if beside else []), *lengths),
        rows=tuple(body),
    )


def _beside(
    measured: Measured,
    name: str,
    suite: AnyRuler,
    label: str,
    checkpoint: str,
    table: str,
    published_name: str,
) -> Iterator[tuple[Cell, ...]]:
    """Three rows: measured, published, difference."""
    values = [
        measured.published_value(table, published_name, RULER_AVERAGE, length_name(length))
        for length in suite.lengths
    ]
    yield from three_rows(label, measured.mean_cells(name, checkpoint, suite.lengths), values)

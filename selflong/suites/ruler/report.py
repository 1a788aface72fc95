"""RULER's tables and figures, for its own prompts and for the published ones (`published_ruler`)."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from selflong.drawing import ReportFigure
from selflong.formats import MEAN_OF_TASKS
from selflong.recipe.models import INITIAL
from selflong.scores import length_name
from selflong.suites.measured import INTERVALS, Measured, three_rows
from selflong.suites.ruler.section import RULER_TASKS, AnyRuler
from selflong.suites.views import each_depth, each_task, mean_against_length, mean_by_length
from selflong.tables import Cell, Table

RULER_AVERAGE = "RULER-13task-avg"
THRESHOLD = 85.6
"""Score from which RULER's authors call a length effective (arXiv 2404.06654, section 4)."""

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
    yield from each_depth(measured, name, suite.lengths)
    yield effective_length(measured, name, suite)
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
        caption=f"Per cent, mean over {which}, each task counting alike; {suite.asked_how}",
    )


def effective_length(measured: Measured, name: str, suite: AnyRuler) -> Table:
    """How far each model reads, by the authors' threshold and by its base's score at the shortest length."""
    shortest = min(suite.lengths)
    whole = len(suite.asked_tasks) == len(RULER_TASKS)
    incomplete = Cell(f"needs all {len(RULER_TASKS)} tasks")
    rows: list[tuple[Cell, ...]] = []
    for checkpoint in measured.checkpoints(name):
        lengths = sorted(suite.lengths)
        cells = dict(zip(lengths, measured.mean_cells(name, checkpoint, lengths), strict=True))
        base = measured.cell(name, _base(measured, name, checkpoint), MEAN_OF_TASKS, shortest)
        rows.append(
            (
                Cell(measured.label(checkpoint)),
                _longest(cells, THRESHOLD, lambda cell: cell.value) if whole else incomplete,
                _longest(cells, base.low, lambda cell: cell.high),
            )
        )
    return Table(
        name=f"{name}_effective_length",
        title=f"Effective length ({suite.which_prompts})",
        caption="The longest length up to which every score holds. Against "
        f"{THRESHOLD}, what RULER's authors measured of Llama-2-7B at 4k with their prompts and all 13 "
        f"tasks; and against the model's base at {length_name(shortest)} (the model itself where the base "
        "was not asked), where a score holds unless its 95% interval lies wholly below the base's.",
        columns=("Model", f"score of at least {THRESHOLD}", "not below the base"),
        rows=tuple(rows),
    )


def _base(measured: Measured, name: str, checkpoint: str) -> str:
    recipe = measured.recipe
    if checkpoint not in set(recipe.checkpoints()):
        return checkpoint
    base = f"{recipe.root(checkpoint)}/{INITIAL}"
    return base if base in measured.checkpoints(name) else checkpoint


def _longest(
    cells: Mapping[int, Cell], least: float | None, reach: Callable[[Cell], float | None]
) -> Cell:
    """The longest of the lengths, shortest first, up to which all reach `least`."""
    if least is None:
        return Cell("")
    held = 0
    for length, cell in cells.items():
        reached = reach(cell)
        if reached is None and not held:
            return Cell(cell.text)
        if reached is None or reached < least:
            break
        held = length
    return Cell(length_name(held), held) if held else Cell(f"< {length_name(min(cells))}")


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

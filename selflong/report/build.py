"""All tables and figures of a recipe, from the files below its results; and the check that they are theirs.

Everything here is a function of the recipe and of files, so a table is the same whenever it is made.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from selflong.formats import PREDICTIONS, SCORES, publish, read_parquet, table
from selflong.job import UserError
from selflong.recipe import (
    NeedleGrid,
    OutputLength,
    PublishedRulerSuite,
    RecallSuite,
    Recipe,
    RulerSuite,
)
from selflong.report import data, published
from selflong.report.recall import recall_tables
from selflong.report.results import Measured, result_tables
from selflong.report.tables import Table, to_csv, write_tables
from selflong.scores import aggregate_files

# seaborn takes a second to load; tables and the page need none of it.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

PUBLISHED_RESULTS = Path(__file__).parent.parent.parent / "resources" / "published_results.csv"


@dataclass(frozen=True)
class ReportFigure:
    """A figure and what stands under it."""

    name: str
    title: str
    caption: str
    draw: Callable[[], "Figure"]


# ------------------------------------------------------------------------------------------ inputs


def prediction_files(recipe: Recipe, results: Path, suite: str) -> list[Path]:
    """Every file of predictions of a suite, and what its published sets carry."""
    if suite not in recipe.suites:
        raise UserError(f"recipe {recipe.name} has no suite {suite!r}")
    folder = results / "evaluation" / suite
    return sorted([*folder.glob("*/*/*.parquet"), *folder.glob("stored.parquet")])


def read_scores(recipe: Recipe, results: Path) -> pl.DataFrame:
    """Scores of all suites of a recipe."""
    paths = [results / "evaluation" / suite / "scores.parquet" for suite in recipe.suites]
    frames = [read_parquet(path, SCORES) for path in paths]
    return pl.concat([table([], SCORES), *frames])


def scores_from_predictions(recipe: Recipe, results: Path) -> pl.DataFrame:
    """The same, counted again from the predictions."""
    frames = []
    for name, suite in recipe.suites.items():
        grids = frozenset({name}) if isinstance(suite, NeedleGrid) else frozenset()
        paths = prediction_files(recipe, results, name)
        frames.append(aggregate_files(paths, results, grids, recipe.seed))
    return pl.concat([table([], SCORES), *frames])


def _writing(recipe: Recipe, results: Path) -> pl.DataFrame | None:
    """Predictions of the suites on output length."""
    paths = [
        path
        for name, suite in recipe.suites.items()
        if isinstance(suite, OutputLength)
        for path in prediction_files(recipe, results, name)
    ]
    return pl.concat([read_parquet(path, PREDICTIONS) for path in paths]) if paths else None


# ------------------------------------------------------------------------------------------ tables


def report_tables(
    recipe: Recipe, results: Path, scores: pl.DataFrame, published_results: Path = PUBLISHED_RESULTS
) -> list[Table]:
    """Every table of the report: evaluation, published numbers, data, training."""
    printed = published.read(published_results)
    measured = Measured(recipe, scores)
    tables = result_tables(measured, printed, _writing(recipe, results))
    for name, suite in recipe.suites.items():
        if isinstance(suite, RecallSuite):
            tables += recall_tables(measured, name, suite)
    if recipe.report.paper is not None:
        tables += published.of_paper(printed, recipe.report.paper)
    tables += _data_tables(recipe, results)
    for paper in recipe.report.also_published:
        tables += published.of_paper(printed, paper)
    return tables


def _data_tables(recipe: Recipe, results: Path) -> Iterator[Table]:
    rows = data.accounting(recipe, results)
    if rows:
        yield data.composition(rows)
        yield data.left_out(rows)
    if recipe.corpora:
        yield data.steps_table(
            "corpus",
            "Documents of the corpus",
            "Documents of each source by what became of them.",
            data.corpus_steps(recipe, results),
        )
    if recipe.corpora or rows:
        yield data.overlaps(recipe, results)
    if recipe.synthesis is not None:
        yield data.retrieval(recipe.synthesis, results)
        for generator in recipe.generators:
            yield data.steps_table(
                f"synthesis_{generator}",
                f"Synthesis with {generator}",
                "What became of all that each step read or asked, in the order of the workflow.",
                data.synthesis_steps(recipe, results, generator),
            )
        if used := data.usage(recipe, results):
            yield used
    if data.trained_checkpoints(recipe):
        yield data.training(recipe, results)


def write_report_tables(recipe: Recipe, results: Path, output: Path) -> None:
    """Publish the folder of tables, each in Markdown, CSV and LaTeX."""
    tables = report_tables(recipe, results, read_scores(recipe, results))
    with publish(output) as folder:
        write_tables(tables, folder)


def recompute(recipe: Recipe, results: Path, tables: Path) -> int:
    """Make every table again from the predictions and the stages' counts; the number of cells that agree.

    Raises UserError at the first table in the folder `tables` that holds something else.
    """
    again = report_tables(recipe, results, scores_from_predictions(recipe, results))
    for made in again:
        path = tables / f"{made.name}.csv"
        if not path.exists():
            raise UserError(f"{path} is missing: run the rule tables")
        for number, (there, here) in enumerate(
            zip(path.read_text().splitlines(), to_csv(made).splitlines(), strict=False), 1
        ):
            if there != here:
                raise UserError(f"{path}, line {number}: holds {there!r}, recomputed {here!r}")
        if path.read_text() != to_csv(made):
            raise UserError(f"{path} has more or fewer rows than its files give")
    return sum(len(made.rows) * len(made.columns) for made in again)


# ----------------------------------------------------------------------------------------- figures


def _draw(name: str, *arguments: Any) -> "Figure":
    """The figure that the function `name` of selflong.report.figures makes."""
    from selflong.report import figures

    figure: Figure = getattr(figures, name)(*arguments)
    return figure


def report_figures(recipe: Recipe, results: Path, scores: pl.DataFrame) -> list[ReportFigure]:
    """Every figure of the report; nothing is drawn yet."""
    measured = Measured(recipe, scores)
    return [
        *_suite_figures(measured),
        *_training_figures(measured, results),
        *_data_figures(recipe, results),
    ]


def _suite_figures(measured: Measured) -> Iterator[ReportFigure]:
    for name, suite in measured.recipe.suites.items():
        if isinstance(suite, RulerSuite | PublishedRulerSuite):
            yield ReportFigure(
                f"{name}_by_length",
                "RULER against length",
                "Mean of the suite's tasks with 95% intervals by bootstrap over samples.",
                partial(_draw, "ruler_by_length", measured, name, suite),
            )
        elif isinstance(suite, NeedleGrid):
            yield ReportFigure(
                f"{name}_heatmap",
                "Needle in a haystack",
                "Share of the needle's keywords in the answer by depth of the needle and length of the "
                "prompt; lighter is better, grey did not run.",
                partial(_draw, "needle_heatmap", measured, name, suite),
            )
        elif isinstance(suite, RecallSuite):
            yield ReportFigure(
                f"{name}_by_length",
                "Recall against length",
                "Mean over seeds, with the worst and the best of them.",
                partial(_draw, "recall_by_length", measured, name, suite),
            )


def _training_figures(measured: Measured, results: Path) -> Iterator[ReportFigure]:
    metrics = data.metrics_files(measured.recipe, results)
    if metrics:
        yield ReportFigure(
            "loss_by_stage",
            "Loss by stage",
            "Mean over the targets of a step, in nats, against the tokens trained on; a dotted line "
            "stands where the next stage begins.",
            partial(_draw, "loss_by_stage", metrics, measured),
        )


def _data_figures(recipe: Recipe, results: Path) -> Iterator[ReportFigure]:
    for corpus in recipe.corpora:
        counts = data.document_lengths(recipe, results, corpus)
        yield ReportFigure(
            f"document_lengths_{corpus}",
            f"Lengths of documents, corpus {corpus}",
            "Documents that the corpus keeps by length in the trained model's tokens.",
            partial(_draw, "lengths", counts, f"Document lengths, corpus {corpus}", "document"),
        )
    rows = data.accounting(recipe, results)
    for mixture in recipe.mixtures:
        counts = data.sample_lengths(recipe, rows, mixture)
        yield ReportFigure(
            f"sample_lengths_{mixture}",
            f"Lengths of samples, mixture {mixture}",
            "Samples by length in the trained model's tokens"
            + (
                ", of the longest stage."
                if recipe.mixtures[mixture].assignment == "every_stage"
                else ", over all stages."
            ),
            partial(_draw, "lengths", counts, f"Sample lengths, mixture {mixture}", "sample"),
        )
    if recipe.synthesis is None:
        return
    for generator in recipe.generators:
        steps = [
            (step.source.replace("_", " "), step.outcome, step.rows)
            for step in data.synthesis_steps(recipe, results, generator)
        ]
        yield ReportFigure(
            f"synthesis_{generator}",
            f"Synthesis with {generator}",
            "Rows that each step of the synthesis kept or dropped, with the reason.",
            partial(_draw, "funnel", steps, f"Synthesis with {generator}"),
        )


def write_report_figures(recipe: Recipe, results: Path, output: Path) -> None:
    """Publish the folder of figures, each as PNG, PDF and SVG."""
    from selflong.report.style import save

    drawn = report_figures(recipe, results, read_scores(recipe, results))
    with publish(output) as folder:
        folder.mkdir()
        for figure in drawn:
            save(figure.draw(), folder, figure.name)

"""All tables and figures of a recipe, from the files below its results; and the check that they are theirs.

Everything here is a function of the recipe and of files, so a table is the same whenever it is made.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl

from selflong.drawing import ReportFigure, save
from selflong.formats import SCORES, publish, read_parquets, table
from selflong.job import UserError
from selflong.recipe.published import PUBLISHED_RESULTS
from selflong.recipe.recipe import Recipe
from selflong.report import counts, figures, neighbours, published
from selflong.report.diversity import diversity
from selflong.report.side_by_side import comparisons
from selflong.results import Results, prediction_files, trained_checkpoints
from selflong.suites.kinds import kind_of
from selflong.suites.measured import Measured
from selflong.suites.suite_scores import scores_of
from selflong.tables import Table, to_csv, write_tables

# ------------------------------------------------------------------------------------------ inputs


def read_scores(recipe: Recipe, results: Results) -> pl.DataFrame:
    """Scores of all suites of a recipe."""
    return read_parquets((results.scores(suite) for suite in recipe.suites), SCORES)


def scores_from_predictions(recipe: Recipe, results: Results) -> pl.DataFrame:
    """The same, counted again from the predictions."""
    frames = [
        scores_of(name, suite, prediction_files(recipe, results, name), results.root, recipe.seed)
        for name, suite in recipe.suites.items()
    ]
    return pl.concat([table([], SCORES), *frames])


def measured_run(recipe: Recipe, results: Results, scores: pl.DataFrame) -> Measured:
    """All that a suite's tables and figures are made from."""
    files = {name: prediction_files(recipe, results, name) for name in recipe.suites}
    return Measured(recipe, scores, published.read(PUBLISHED_RESULTS), files)


# ------------------------------------------------------------------------------------------ tables


def report_tables(recipe: Recipe, results: Results, scores: pl.DataFrame) -> list[Table]:
    """Every table of the report: evaluation, published numbers, data, training."""
    measured = measured_run(recipe, results, scores)
    tables = [*suite_tables(measured), *neighbours.tables(measured)]
    if compared := comparisons(measured):
        tables.append(compared)
    papers = [paper for paper in (recipe.report.paper, *recipe.report.also_published) if paper]
    if unknown := published.unknown_settings(papers):
        tables.append(unknown)
    if recipe.report.paper is not None:
        tables += published.of_paper(measured.printed, recipe.report.paper)
    tables += data_tables(recipe, results)
    for paper in recipe.report.also_published:
        tables += published.of_paper(measured.printed, paper)
    return tables


def suite_tables(measured: Measured) -> list[Table]:
    """Every table that the evaluation fills."""
    return [
        table
        for name, suite in measured.recipe.suites.items()
        for table in kind_of(suite).tables(suite, name, measured)
    ]


def data_tables(recipe: Recipe, results: Results) -> Iterator[Table]:
    """What the stages of data and of training counted."""
    rows = counts.accounting(recipe, results)
    if rows:
        yield counts.composition(rows)
        yield counts.left_out(rows)
    if recipe.corpora:
        yield counts.steps_table(
            "corpus",
            "Documents of the corpus",
            "Documents of each source by what became of them.",
            counts.corpus_steps(recipe, results),
        )
    if recipe.corpora or rows:
        yield counts.overlaps(recipe, results)
    if recipe.synthesis is not None:
        searched = recipe.synthesis.long_input is not None
        if searched:
            yield counts.retrieval(recipe.synthesis, results)
        for generator in recipe.generators:
            yield counts.steps_table(
                f"synthesis_{generator}",
                f"Synthesis with {generator}",
                "What became of all that each step read or asked, in the order of the workflow.",
                counts.synthesis_steps(recipe, results, generator),
            )
            if searched:
                yield diversity(recipe, results, generator)
        if used := counts.usage(recipe, results):
            yield used
    if trained_checkpoints(recipe):
        yield counts.training(recipe, results)


def write_report_tables(recipe: Recipe, results: Results, output: Path) -> None:
    """Publish the folder of tables, each in Markdown, CSV and LaTeX."""
    tables = report_tables(recipe, results, read_scores(recipe, results))
    with publish(output) as folder:
        write_tables(tables, folder)


def recompute(recipe: Recipe, results: Results, tables: Path) -> int:
    """Make every table again from the predictions and the stages' counts; the number of cells that agree.

    Raises UserError at the first table in the folder `tables` that holds something else.
    """
    again = report_tables(recipe, results, scores_from_predictions(recipe, results))
    for made in again:
        path = tables / f"{made.name}.csv"
        if not path.exists():
            raise UserError(f"{path} is missing: run the rule tables")
        for number, (there, here) in enumerate(
            zip(
                path.read_text(encoding="utf-8").splitlines(),
                to_csv(made).splitlines(),
                strict=False,
            ),
            1,
        ):
            if there != here:
                raise UserError(f"{path}, line {number}: holds {there!r}, recomputed {here!r}")
        if path.read_text(encoding="utf-8") != to_csv(made):
            raise UserError(f"{path} has more or fewer rows than its files give")
    return sum(len(made.rows) * len(made.columns) for made in again)


# ----------------------------------------------------------------------------------------- figures


def report_figures(recipe: Recipe, results: Results, scores: pl.DataFrame) -> list[ReportFigure]:
    """Every figure of the report; nothing is drawn yet."""
    measured = measured_run(recipe, results, scores)
    return [
        *_suite_figures(measured),
        *neighbours.figures(measured),
        *_training_figures(measured, results),
        *_data_figures(recipe, results),
    ]


def _suite_figures(measured: Measured) -> Iterator[ReportFigure]:
    for name, suite in measured.recipe.suites.items():
        yield from kind_of(suite).figures(suite, name, measured)


def _training_figures(measured: Measured, results: Results) -> Iterator[ReportFigure]:
    metrics = counts.metrics_files(measured.recipe, results)
    if metrics:
        yield ReportFigure(
            "loss_by_stage",
            "Loss by stage",
            "Mean over the targets of a step, in nats, against the tokens trained on; a dotted line "
            "stands where the next stage begins.",
            partial(figures.loss_by_stage, metrics, measured),
        )


def _data_figures(recipe: Recipe, results: Results) -> Iterator[ReportFigure]:
    if steps := counts.funnel(recipe, results):
        yield ReportFigure(
            "data_funnel",
            "From documents to training samples",
            "Rows that each part of the data's way reads and keeps; a mixture's are those of its last stage.",
            partial(figures.funnel, steps, "From documents to training samples"),
        )
    for corpus in recipe.corpora:
        lengths = counts.document_lengths(recipe, results, corpus)
        yield ReportFigure(
            f"document_lengths_{corpus}",
            f"Lengths of documents, corpus {corpus}",
            "Documents that the corpus keeps by length in the trained model's tokens.",
            partial(figures.lengths, lengths, f"Document lengths, corpus {corpus}", "document"),
        )
    rows = counts.accounting(recipe, results)
    for mixture, section in recipe.mixtures.items():
        if section.vocabulary is not None:
            continue  # its lengths are those that the recipe says
        lengths = counts.sample_lengths(recipe, rows, mixture)
        every = section.assignment == "every_stage"
        which = "of the longest stage" if every else "over all stages"
        yield ReportFigure(
            f"sample_lengths_{mixture}",
            f"Lengths of samples, mixture {mixture}",
            f"Samples by length in the trained model's tokens, {which}.",
            partial(figures.lengths, lengths, f"Sample lengths, mixture {mixture}", "sample"),
        )
    if recipe.synthesis is None:
        return
    for generator in recipe.generators:
        steps = [
            (step.source.replace("_", " "), step.outcome, step.rows)
            for step in counts.synthesis_steps(recipe, results, generator)
        ]
        yield ReportFigure(
            f"synthesis_{generator}",
            f"Synthesis with {generator}",
            "Rows that each step of the synthesis kept or dropped, with the reason.",
            partial(figures.funnel, steps, f"Synthesis with {generator}"),
        )


def write_report_figures(recipe: Recipe, results: Results, output: Path) -> None:
    """Publish the folder of figures, each as PNG, PDF and SVG."""
    drawn = report_figures(recipe, results, read_scores(recipe, results))
    with publish(output) as folder:
        folder.mkdir()
        for figure in drawn:
            save(figure.draw(), folder, figure.name)

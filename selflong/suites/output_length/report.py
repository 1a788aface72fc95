"""The table of lengths asked for and produced."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from selflong.drawing import ReportFigure
from selflong.formats import PREDICTIONS, read_parquets
from selflong.suites.measured import INTERVALS, Measured
from selflong.suites.output_length.section import OutputLength
from selflong.tables import Cell, Table, number_cell


def tables(suite: OutputLength, name: str, measured: Measured) -> Iterator[Table]:
    """Mean number of words written where `length` words were asked for, and the length score."""
    produced: dict[tuple[Any, ...], float] = {}
    if files := measured.predictions.get(name):
        writing = read_parquets(files, PREDICTIONS)
        words = pl.col("prediction").str.count_matches(r"\S+")
        means = writing.group_by("model", "length").agg(words.mean().alias("words"))
        produced = {(model, length): mean for model, length, mean in means.rows()}
    rows: list[tuple[Cell, ...]] = []
    for checkpoint in measured.checkpoints(name):
        scores = measured.mean_cells(name, checkpoint, suite.lengths)
        written = [
            number_cell(produced[checkpoint, length], file=score.file)
            if (checkpoint, length) in produced
            else Cell(score.text)
            for length, score in zip(suite.lengths, scores, strict=True)
        ]
        label = Cell(measured.label(checkpoint))
        rows += [(label, Cell("words written"), *written), (label, Cell("length score"), *scores)]
    yield Table(
        name=f"{name}_by_length",
        title="Length asked for and length produced",
        caption="Columns: words asked for. The length score is 100 where they are met and falls to 0 "
        f"at four times as many, or a third. {INTERVALS}.",
        columns=("Model", "", *(f"{length:,}" for length in suite.lengths)),
        rows=tuple(rows),
    )


def figures(suite: OutputLength, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """None: the table holds a few lengths."""
    return iter(())

"""Scores of one suite's predictions, with the means that its kind takes."""

from pathlib import Path

import polars as pl

from selflong.scores import aggregate_files
from selflong.suites.section import SuiteSection


def scores_of(
    name: str, suite: SuiteSection, predictions: list[Path], root: Path, seed: int
) -> pl.DataFrame:
    """formats.SCORES of a suite's prediction files below `root`, the folder of the results."""

    def where(holds: bool) -> frozenset[str]:
        return frozenset({name}) if holds else frozenset()

    return aggregate_files(
        predictions,
        root,
        where(suite.by_depth),
        seed,
        pooled=where(suite.counts_samples),
        geometric=where(suite.scores_are_perplexities),
    )

"""Perplexity's table."""

from collections.abc import Iterator

from selflong.drawing import ReportFigure
from selflong.suites.measured import Measured
from selflong.suites.perplexity.section import Perplexity
from selflong.suites.views import mean_by_length
from selflong.tables import Table


def tables(suite: Perplexity, name: str, measured: Measured) -> Iterator[Table]:
    """By length; models with another tokenizer foretell other tokens."""
    caption = (
        f"Of the last {suite.scored_tokens:,} tokens of each document's first so many, less is better; only "
        "models with the same tokenizer compare"
    )
    yield mean_by_length(measured, name, suite.lengths, "Perplexity by model and length", caption)


def figures(suite: Perplexity, name: str, measured: Measured) -> Iterator[ReportFigure]:
    """None: a curve of the recipe shows it beside another score."""
    return iter(())

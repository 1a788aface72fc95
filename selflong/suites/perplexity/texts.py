"""The documents whose perplexity is measured."""

from collections.abc import Iterator
from pathlib import Path

from selflong.job import UserError
from selflong.suites.perplexity.section import Perplexity
from selflong.suites.stored_rows import parquet_rows


def texts(suite: Perplexity, download: Path | None) -> Iterator[tuple[str, str]]:
    """All of the set, whichever are long enough for a model."""
    if download is None:
        raise UserError("the documents of perplexity lie in its download, which is missing")
    for index, row in enumerate(parquet_rows(download, [suite.column])):
        yield f"document/{index}", row[suite.column]

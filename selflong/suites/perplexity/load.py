"""What perplexity asks of one model."""

from collections.abc import Iterator

from selflong.suites.load import Load, supported
from selflong.suites.perplexity.section import Perplexity


def loads(suite: Perplexity, supports: int | None) -> Iterator[Load]:
    """A load for each length, without a token to be decoded."""
    for length in supported(suite.lengths, supports):
        yield Load(length, suite.documents, suite.documents * length, 0)

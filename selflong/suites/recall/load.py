"""What the suite on recall asks of one model."""

from collections.abc import Iterator

from selflong.suites.load import Load
from selflong.suites.recall.section import RecallSuite


def loads(suite: RecallSuite, supports: int | None) -> Iterator[Load]:
    """A load for each length, without a token to be decoded; every model reads all of them."""
    for length in suite.lengths:
        yield Load(length, suite.sequences, suite.sequences * length, 0)

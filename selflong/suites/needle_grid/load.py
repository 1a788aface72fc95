"""What the needle grid asks of one model."""

from collections.abc import Iterator

from selflong.suites.load import ANSWERED_SHARE, Load, supported
from selflong.suites.needle_grid.section import ANSWER_TOKENS, NeedleGrid


def loads(suite: NeedleGrid, supports: int | None) -> Iterator[Load]:
    """A load for each length, over all cells."""
    cells = suite.depths * suite.repeats
    for length in supported(suite.lengths, supports):
        answered = round(ANSWERED_SHARE * cells * ANSWER_TOKENS)
        yield Load(length, cells, cells * (length - ANSWER_TOKENS), answered)

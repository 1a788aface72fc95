"""What the needle grid asks of one model."""

from collections.abc import Iterator

from selflong.suites.load import ANSWERED_SHARE, Load, supported
from selflong.suites.needle_grid.section import ANSWER_TOKENS, NeedleGrid, depths


def loads(suite: NeedleGrid, supports: int | None) -> Iterator[Load]:
    """A load for each length, over all cells.

    Of a haystack's prompts the deepest is read whole, each other one from its needle on.
    """
    cells = suite.depths * suite.repeats
    shared = [*depths(suite)[:-1], 0.0]
    for length in supported(suite.lengths, supports):
        prompt = length - ANSWER_TOKENS
        yield Load(
            length,
            cells,
            cells * prompt,
            round(ANSWERED_SHARE * cells * ANSWER_TOKENS),
            round(sum(shared) * suite.repeats * prompt),
            sum(1 - depth**2 for depth in shared) / 2 / sum(1 - depth for depth in shared),
        )

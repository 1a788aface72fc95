"""What GraphWalks asks of one model."""

from collections.abc import Iterator

from selflong.suites.graphwalks.section import SAMPLES, GraphWalks
from selflong.suites.load import ANSWERED_SHARE, Load, supported
from selflong.suites.stored_rows import FILLED_SHARE


def loads(suite: GraphWalks, supports: int | None) -> Iterator[Load]:
    """A load for each length, over both problems."""
    requests = min(suite.samples, SAMPLES) * len(suite.problems)
    for length in supported(suite.lengths, supports):
        prompts = round(requests * FILLED_SHARE * length)
        answered = round(ANSWERED_SHARE * requests * min(suite.answer_tokens, length))
        yield Load(length, requests, prompts, answered)

"""What MRCR asks of one model."""

from collections.abc import Iterator

from selflong.suites.load import Load, supported
from selflong.suites.mrcr.section import SAMPLES, Mrcr
from selflong.suites.stored_rows import FILLED_SHARE

ANSWER_TOKENS = 700
"""Of the pieces that are to be repeated: a guess."""


def loads(suite: Mrcr, supports: int | None) -> Iterator[Load]:
    """A load for each length, over all numbers of needles."""
    requests = min(suite.samples, SAMPLES) * len(suite.needles)
    for length in supported(suite.lengths, supports):
        answered = requests * min(ANSWER_TOKENS, suite.answer_tokens)
        prompts = round(requests * FILLED_SHARE * length) - answered
        yield Load(length, requests, max(prompts, requests), answered)

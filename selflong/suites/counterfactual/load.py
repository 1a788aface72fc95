"""What the counterfactual probe asks of one model."""

from collections.abc import Iterator

from selflong.suites.counterfactual.section import ANSWER_TOKENS, Counterfactual
from selflong.suites.load import ANSWERED_SHARE, Load, supported

PROMPTS = 2
"""Of a question: what two tasks score is asked once."""


def loads(suite: Counterfactual, supports: int | None) -> Iterator[Load]:
    """A load for each length."""
    requests = PROMPTS * suite.samples
    for length in supported(suite.lengths, supports):
        answered = round(ANSWERED_SHARE * requests * ANSWER_TOKENS)
        yield Load(length, requests, requests * (length - ANSWER_TOKENS), answered)

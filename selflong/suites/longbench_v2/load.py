"""What LongBench v2 asks of one model."""

from collections.abc import Iterator

from selflong.suites.load import ANSWERED_SHARE, Load, supported
from selflong.suites.longbench_v2.section import LongBenchV2

ANSWER_TOKENS = 16
"""Expected: the sentence that is asked for."""
REASONING_TOKENS = 1024
QUESTION_TOKENS = 300
CONTEXTS = ((180, 21_000), (215, 88_000), (108, 400_000))
"""Questions of each kind of context (table 1 of the paper), and about how many tokens these have."""


def loads(suite: LongBenchV2, supports: int | None) -> Iterator[Load]:
    """A load for each length; with a chain of thought each question is asked twice."""
    questions = sum(number for number, _ in CONTEXTS)
    for length in supported(suite.lengths, supports):
        read = sum(number * min(tokens, length) for number, tokens in CONTEXTS)
        yield Load(length, questions, read, questions * _answer(suite))
        if suite.chain_of_thought:
            again = QUESTION_TOKENS + round(ANSWERED_SHARE * REASONING_TOKENS)
            yield Load(again, questions, questions * again, questions * ANSWER_TOKENS)


def _answer(suite: LongBenchV2) -> int:
    return round(ANSWERED_SHARE * REASONING_TOKENS) if suite.chain_of_thought else ANSWER_TOKENS

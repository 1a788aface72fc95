"""What the suite of shared haystacks asks of one model."""

from collections.abc import Iterator

from selflong.suites.load import ANSWERED_SHARE, Load, supported
from selflong.suites.ruler.section import ANSWER_TOKENS
from selflong.suites.shared_haystack.section import SharedHaystack

QUESTION_TOKENS = 64
"""What a prompt has of its own: the question, the template's end and the answer's prefix; about."""


def loads(suite: SharedHaystack, supports: int | None) -> Iterator[Load]:
    """A load for each length, over all tasks: the first question of a haystack reads it for the others."""
    haystacks = suite.haystacks * len(suite.tasks)
    later = haystacks * (suite.questions - 1)
    for length in supported(suite.lengths, supports):
        prompt = length - ANSWER_TOKENS["niah"]
        own = min(QUESTION_TOKENS, prompt)
        requests = haystacks * suite.questions
        whole, rest = haystacks * prompt, later * own
        yield Load(
            length,
            requests,
            requests * prompt,
            round(ANSWERED_SHARE * requests * ANSWER_TOKENS["niah"]),
            later * (prompt - own),
            (0.5 * whole + rest) / (whole + rest),
        )

"""What the suite on output length asks of one model."""

from collections.abc import Iterator

from selflong.suites.load import Load
from selflong.suites.output_length.section import TOKENS_PER_WORD, OutputLength

PROMPT_TOKENS = 64


def loads(suite: OutputLength, supports: int | None) -> Iterator[Load]:
    """A load for each number of words, whatever the model supports: its prompts are short."""
    for words in suite.lengths:
        answer = suite.prompts * TOKENS_PER_WORD * words
        prompt = suite.prompts * PROMPT_TOKENS
        yield Load(TOKENS_PER_WORD * words, suite.prompts, prompt, answer)

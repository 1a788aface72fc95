"""Settings of the suite on output length."""

from typing import ClassVar, Literal

from selflong.recipe.section import Positive, Seed
from selflong.suites.section import SuiteSection

TOKENS_PER_WORD = 2
"""Room for the answer: English takes about 1.3 tokens a word, and too long an answer must be able to show."""


class OutputLength(SuiteSection):
    """Length asked for against length produced; its lengths are the words asked for."""

    kind: Literal["output_length"]
    prompts: Positive
    """Of each length."""
    seed: Seed

    asks_endpoints: ClassVar[bool] = True
    lengths_of_answers: ClassVar[bool] = True

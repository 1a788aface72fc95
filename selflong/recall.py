"""The language of the recall study: needles in filler, queried at the end.

A sequence is: start, a body of filler with needles at random places, separator, then queries. A needle
is one token that stands for a (key, value) pair; a query is a key followed by its value, the answer.
Only answers are trained on, so the loss measures recall over the body and nothing else.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from selflong.recipe.section import Positive, Section

START = 1
SEPARATOR = 2


class RecallLanguage(Section):
    """Sizes of the recall study's vocabulary, and what each of its sequences holds of it."""

    keys: Positive
    """Different keys."""
    values: Positive
    """Different values."""
    fillers: Positive
    """Different tokens of the filler."""
    needles: Positive
    """Pairs of a key and a value in each sequence."""
    queries: Positive
    """Of them those that are asked for at the end."""

    @model_validator(mode="after")
    def _enough_keys(self) -> Self:
        if self.needles > self.keys:
            raise ValueError(f"{self.needles} needles need as many keys, not {self.keys}")
        if self.queries > self.needles:
            raise ValueError(
                f"only the {self.needles} needles can be asked for, not {self.queries} queries"
            )
        return self

    # Tokens: 0 padding, 1 start, 2 separator, then keys, values, fillers, and a needle for each pair.

    @property
    def first_key(self) -> int:
        return 3

    @property
    def first_value(self) -> int:
        return self.first_key + self.keys

    @property
    def first_filler(self) -> int:
        return self.first_value + self.values

    @property
    def first_needle(self) -> int:
        return self.first_filler + self.fillers

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.first_needle + self.keys * self.values

    def refuse_shorter(self, length: int) -> None:
        """ValueError where a sequence of `length` holds no filler beside start, separator and the rest."""
        least = 2 + self.needles + 2 * self.queries
        if length <= least:
            raise ValueError(f"length {length} is too short, needles and queries take {least}")


def answer_positions(language: RecallLanguage, length: int) -> NDArray[np.int64]:
    """Where the answers stand in a sequence [queries]; the token before each is its key."""
    return np.arange(length - 2 * language.queries + 1, length, 2)


def random_sequences(
    language: RecallLanguage, length: int, count: int, rng: np.random.Generator
) -> NDArray[np.uint32]:
    """Sequences [count, length]; ValueError where the length holds no filler."""
    language.refuse_shorter(length)
    body = length - 2 - 2 * language.queries
    tokens = language.first_filler + rng.integers(language.fillers, size=(count, length))
    tokens[:, 0] = START
    tokens[:, 1 + body] = SEPARATOR
    keys = rng.random((count, language.keys)).argsort(1)[:, : language.needles]
    values = rng.integers(language.values, size=keys.shape)
    places = 1 + rng.random((count, body)).argsort(1)[:, : language.needles]
    needles = language.first_needle + keys * language.values + values
    np.put_along_axis(tokens, places, needles, 1)
    # Keys are in random order already: the first needles are as good a choice as any.
    answers = answer_positions(language, length)
    tokens[:, answers - 1] = language.first_key + keys[:, : language.queries]
    tokens[:, answers] = language.first_value + values[:, : language.queries]
    return tokens.astype(np.uint32)

"""The language and the data of the recall study."""

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from selflong.recipe.section import Name, Positive, Section, Seed


class RecallData(Section):
    """Sequences of the recall study that a stage trains on, packed to the stage's length."""

    length: Positive
    """Of each document."""
    documents: Positive
    seed: Seed


class RecallLanguage(Section):
    """Sizes of the recall study's vocabulary, and what each of its sequences holds of it."""

    keys: Positive
    values: Positive
    fillers: Positive
    needles: Positive
    queries: Positive

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

    @property
    def shortest(self) -> int:
        """The length that start, separator, needles and queries take without any filler."""
        return 2 + self.needles + 2 * self.queries

    def too_short(self, place: str, length: int) -> Iterator[str]:
        """A sentence where a sequence of `length` holds no filler."""
        if length <= self.shortest:
            yield f"{place}: {length} is too short, needles and queries take {self.shortest}"


class RecallStudy(Section):
    """The study of recall on a CPU: a language of needles in filler, and what stages train on.

    A stage whose `mixture` is a name in `data` trains on that.
    """

    language: RecallLanguage
    data: dict[Name, RecallData] = Field(min_length=1)

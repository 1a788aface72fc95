"""The needle grid's settings."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from selflong.recipe.section import Distinct, Positive, Section, Seed, is_none
from selflong.suites.section import TEXTS_OF_RULER, HaystackFile, PromptLengthsSection

ANSWER_TOKENS = 32
"""Room for an answer."""


class Wording(Section):
    """What is hidden and asked, where it is not the original test's, such as in the haystack's language."""

    needle: str = Field(min_length=1)
    """The sentence that is hidden."""
    question: str = Field(min_length=1)
    """What asks for it."""
    keywords: Annotated[list[str], Distinct] = Field(min_length=1)
    """Of the needle: the score is the share of them that the answer holds, whatever their case."""
    prompt: str
    """With `{haystack}` and, after it, `{question}`."""

    @model_validator(mode="after")
    def _two_fields_in_order(self) -> Self:
        before, found, after = self.prompt.partition("{haystack}")
        if not found or "{question}" in before or after.count("{question}") != 1:
            raise ValueError("prompt must hold {haystack} once and {question} once behind it")
        for keyword in self.keywords:
            if keyword.casefold() not in self.needle.casefold():
                raise ValueError(f"keywords: {keyword!r} does not stand in the needle")
        return self


class NeedleGrid(PromptLengthsSection):
    """Needle-in-a-haystack over depth and length."""

    title: ClassVar[str] = "Needle grid"

    kind: Literal["needle_grid"]
    depths: Annotated[Positive, Field(le=1000)]
    """Evenly spaced from 0 to 1, both ends included."""
    repeats: Positive = 1
    """Prompts of each cell."""
    seed: Seed
    files: HaystackFile | None = Field(default=None, exclude_if=is_none)
    wording: Wording | None = Field(default=None, exclude_if=is_none)

    packages: ClassVar[tuple[str, ...]] = TEXTS_OF_RULER
    filled: ClassVar[float] = 0.9
    asks_endpoints: ClassVar[bool] = True
    by_depth: ClassVar[bool] = True
    decides_texts: ClassVar[frozenset[str]] = frozenset({"kind", "files", "wording"})


def depths(suite: NeedleGrid) -> list[float]:
    """Shares of the haystack before the needle, from 0 to 1."""
    if suite.depths == 1:
        return [0.5]
    return [round(step / (suite.depths - 1), 4) for step in range(suite.depths)]

"""What the sections of several suites have in common, and what anybody may ask of any of them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from selflong.recipe.section import Distinct, External, Positive, Precision, Section


class SuiteSection(External):
    """A suite of a recipe. A kind's own section says by these what it needs, so that nobody asks its kind."""

    kind: str
    models: Annotated[list[str], Distinct] = Field(min_length=1)

    title: ClassVar[str | None] = None
    """What the report's summary calls it; a kind without one is not summarised."""

    by_depth: ClassVar[bool] = False
    """Whether it asks at certain depths, whose scores count one by one."""
    carries_predictions: ClassVar[bool] = False
    """Whether its download holds predictions, which are scored too (`stored.py`)."""
    one_thread: ClassVar[bool] = False
    """Whether asking a checkpoint takes one thread, whatever the site gives to an evaluation."""
    own_precision: ClassVar[Precision | None] = None
    """In which a kind that serves no checkpoint computes, whatever the site says."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Places of the recipe's other sections that its predictions depend on, as `recall.language`."""
    decides_texts: ClassVar[frozenset[str]] = frozenset({"kind"})
    """Settings that its own texts depend on."""

    @property
    def jobs(self) -> list[str]:
        """What a checkpoint is asked in one job: a length each, or all."""
        return ["all"]

    @property
    def named_files(self) -> dict[str, Path]:
        """Setting below `files` -> a file that it reads in place of packaged data."""
        return {}

    def mistakes(self, place: str, parts: Mapping[str, Section | None]) -> Iterator[str]:
        """Sentences for what it cannot do with `parts` of the recipe, those of `reads`."""
        return iter(())


class LengthsSection(SuiteSection):
    """A suite that asks at lengths."""

    lengths: Annotated[list[Positive], Distinct] = Field(min_length=1)

    lengths_of_answers: ClassVar[bool] = False
    """Whether the lengths are those of answers, not of prompts."""


class PromptLengthsSection(LengthsSection):
    """A suite whose prompts have the lengths, in tokens."""

    job_per_length: bool = False
    """Evaluate each length in a job of its own, where one takes hours."""

    @property
    def jobs(self) -> list[str]:
        return [str(length) for length in self.lengths] if self.job_per_length else ["all"]


class HaystackFile(Section):
    """What a suite reads in place of the packaged data."""

    haystack: Path | None = None
    """Text of the essays: JSON with the field `text`, or plain text."""

    @property
    def named(self) -> dict[str, Path]:
        """Setting -> file, of those that are given."""
        return self.model_dump(exclude={"assumed"}, exclude_none=True)


def is_none(value: Any) -> bool:
    """Where it holds the setting is left out, so that it changes no digest."""
    return value is None

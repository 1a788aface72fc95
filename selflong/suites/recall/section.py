"""Settings of the suite on recall."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from selflong.recipe.recall import RecallLanguage
from selflong.recipe.section import Positive, Precision, Section, Seed
from selflong.suites.section import LengthsSection

LANGUAGE = "recall.language"
"""Place in the recipe of the language that it asks in."""


class RecallSuite(LengthsSection):
    """Recall of needles in the recall study's language; models with one label are repeats of one."""

    title: ClassVar[str] = "Recall"

    kind: Literal["recall"]
    sequences: Positive
    """Of each length; every model reads the same ones."""
    seed: Seed

    one_thread: ClassVar[bool] = True
    own_precision: ClassVar[Precision | None] = "float32"
    reads: ClassVar[tuple[str, ...]] = (LANGUAGE,)

    def mistakes(self, place: str, parts: Mapping[str, Section | None]) -> Iterator[str]:
        language = parts[LANGUAGE]
        if language is None:
            yield f"{place}.lengths: asks in the language of a section recall, which is missing"
            return
        assert isinstance(language, RecallLanguage)
        yield from language.too_short(f"{place}.lengths", min(self.lengths))

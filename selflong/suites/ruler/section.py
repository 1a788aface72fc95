"""RULER's settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from selflong.recipe.section import Distinct, Positive, Seed, is_none
from selflong.suites.section import TEXTS_OF_RULER, HaystackFile, PromptLengthsSection

RULER_TASKS = (
    "niah_single_1",
    "niah_single_2",
    "niah_single_3",
    "niah_multikey_1",
    "niah_multikey_2",
    "niah_multikey_3",
    "niah_multivalue",
    "niah_multiquery",
    "vt",
    "cwe",
    "fwe",
    "qa_1",
    "qa_2",
)

ANSWER_TOKENS = {"niah": 128, "vt": 30, "cwe": 120, "fwe": 50, "qa": 32}
"""Room for an answer by family of tasks (RULER's scripts/data/synthetic/constants.py)."""

NEEDLES_IN_ONE_HAYSTACK = {
    "niah_single_1": 1,
    "niah_single_2": 1,
    "niah_single_3": 1,
    "niah_multikey_1": 4,
    "niah_multivalue": 4,
    "niah_multiquery": 4,
}
"""Tasks whose samples are alike up to the first needle of each, with the number of needles."""

RulerTask = Literal[RULER_TASKS]  # type: ignore[valid-type]


class RulerFiles(HaystackFile):
    """What RULER reads in place of the packaged data; questions in SQuAD v2's or HotpotQA's format."""

    qa_1: Path | None = None
    """SQuAD's file of questions."""
    qa_2: Path | None = None
    """HotpotQA's file of questions."""


class AnyRuler(PromptLengthsSection):
    """RULER's tasks, whoever made the prompts."""

    # The code of 2024 leaves up to 2k tokens out, and published prompts are counted by another tokenizer.
    filled: ClassVar[float] = 0.75

    @property
    def which_prompts(self) -> str:
        """How a table names its prompts."""
        raise NotImplementedError

    @property
    def asked_how(self) -> str:
        """What stands around a prompt, for the tables."""
        raise NotImplementedError

    @property
    def comparable(self) -> bool:
        """Whether its scores may stand beside SelfLong's: its published prompts, or the code of its time.

        The published prompts "128k" hold 128,000 tokens, so lengths must be whole thousands, and the mean
        must be that of all 13 tasks.
        """
        raise NotImplementedError


class RulerSuite(AnyRuler):
    """RULER (arXiv 2404.06654) in one named convention."""

    title: ClassVar[str] = "RULER"

    kind: Literal["ruler"]
    convention: Literal["ruler_exact", "ruler_2024"]
    """ruler_exact: ours, each prompt as long as its length says; ruler_2024: the code that the paper ran."""
    tasks: Annotated[list[RulerTask], Distinct] = Field(min_length=1)
    """Of RULER's thirteen."""
    samples: dict[int, Positive]
    """Of each task, by length."""
    seed: Seed
    chat: bool = True
    """Whether prompts are put into the model's chat template."""
    answer_prefix: bool = True
    """Whether the prompt ends in the beginning of the answer, as RULER's do."""
    files: RulerFiles | None = Field(default=None, exclude_if=is_none)

    packages: ClassVar[tuple[str, ...]] = TEXTS_OF_RULER
    asks_endpoints: ClassVar[bool] = True
    decides_texts: ClassVar[frozenset[str]] = frozenset({"kind", "tasks", "samples", "files"})

    @model_validator(mode="after")
    def _samples_by_length(self) -> Self:
        if set(self.samples) != set(self.lengths):
            raise ValueError(
                f"samples must name each length once: {sorted(self.lengths)}, "
                f"not {sorted(self.samples)}"
            )
        return self

    def at(self, lengths: Sequence[int]) -> Self:
        samples = {length: self.samples[length] for length in lengths}
        return super().at(lengths).model_copy(update={"samples": samples})

    @property
    def which_prompts(self) -> str:
        return self.convention

    @property
    def asked_how(self) -> str:
        parts = {"the chat template": self.chat, "the answer prefix": self.answer_prefix}
        return ", ".join(f"{'with' if on else 'without'} {part}" for part, on in parts.items())

    @property
    def comparable(self) -> bool:
        return (
            self.convention == "ruler_2024"
            and set(self.tasks) == set(RULER_TASKS)
            and all(length % 1000 == 0 for length in self.lengths)
        )

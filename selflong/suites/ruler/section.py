"""RULER's settings."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from selflong.recipe.section import Positive, Section
from selflong.suites.section import HaystackFile, _is_none

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

RulerTask = Literal[RULER_TASKS]  # type: ignore[valid-type]


class RulerFiles(HaystackFile):
    """What RULER reads in place of the packaged data; questions in SQuAD v2's or HotpotQA's format."""

    qa_1: Path | None = None
    qa_2: Path | None = None


class RulerSuite(Section):
    """RULER (arXiv 2404.06654) in one named convention."""

    kind: Literal["ruler"]
    models: list[str] = Field(min_length=1)
    convention: Literal["ruler_exact", "ruler_head", "ruler_2024"]
    tasks: list[RulerTask] = Field(min_length=1)
    lengths: list[Positive] = Field(min_length=1)
    job_per_length: bool = False
    """Evaluate each length in a job of its own, where one takes hours."""
    samples: dict[int, Positive]
    """Of each task, by length."""
    seed: int
    chat: bool = True
    answer_prefix: bool = True
    files: RulerFiles | None = Field(default=None, exclude_if=_is_none)

    @model_validator(mode="after")
    def _samples_by_length(self) -> Self:
        if set(self.samples) != set(self.lengths):
            raise ValueError(
                f"samples must name each length once: {sorted(self.lengths)}, "
                f"not {sorted(self.samples)}"
            )
        return self

"""The needle grid's settings."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selflong.recipe.section import Positive, Seed
from selflong.suites.section import (
    TEXTS_OF_RULER,
    HaystackFile,
    PromptLengthsSection,
    is_none,
)

ANSWER_TOKENS = 32
"""Room for an answer."""


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

    packages: ClassVar[tuple[str, ...]] = TEXTS_OF_RULER
    asks_endpoints: ClassVar[bool] = True
    by_depth: ClassVar[bool] = True
    decides_texts: ClassVar[frozenset[str]] = frozenset({"kind", "files"})

    @property
    def named_files(self) -> dict[str, Path]:
        return self.files.named if self.files else {}


def depths(suite: NeedleGrid) -> list[float]:
    """Shares of the haystack before the needle, from 0 to 1."""
    if suite.depths == 1:
        return [0.5]
    return [round(step / (suite.depths - 1), 4) for step in range(suite.depths)]

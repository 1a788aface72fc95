"""The needle grid's settings."""

from typing import Literal

from pydantic import Field

from selflong.recipe.section import Positive, Section
from selflong.suites.section import HaystackFile, _is_none


class NeedleGrid(Section):
    """Needle-in-a-haystack over depth and length."""

    kind: Literal["needle_grid"]
    models: list[str] = Field(min_length=1)
    lengths: list[Positive] = Field(min_length=1)
    job_per_length: bool = False
    """Evaluate each length in a job of its own, where one takes hours."""
    depths: Positive
    """Evenly spaced from 0 to 1, both ends included."""
    repeats: Positive = 1
    seed: int
    files: HaystackFile | None = Field(default=None, exclude_if=_is_none)

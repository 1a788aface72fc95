"""Settings of the suite on recall."""

from typing import Literal

from pydantic import Field

from selflong.recipe.section import Positive, Section


class RecallSuite(Section):
    """Recall of needles in the recall study's language; models with one label are repeats of one."""

    kind: Literal["recall"]
    models: list[str] = Field(min_length=1)
    lengths: list[Positive] = Field(min_length=1)
    sequences: Positive
    """Of each length; every model reads the same ones."""
    seed: int

"""Settings of the suite on output length."""

from typing import Literal

from pydantic import Field

from selflong.recipe.section import Positive, Section


class OutputLength(Section):
    """Length asked for against length produced."""

    kind: Literal["output_length"]
    models: list[str] = Field(min_length=1)
    lengths: list[Positive] = Field(min_length=1)
    """Words asked for."""
    prompts: Positive
    seed: int

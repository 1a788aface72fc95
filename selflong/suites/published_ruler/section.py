"""Settings of the published RULER sets."""

from typing import Literal

from pydantic import Field

from selflong.recipe.section import Positive, Section


class PublishedRulerSuite(Section):
    """Prompts of self-long/RULER-llama3-1M, and its stored predictions scored again."""

    kind: Literal["published_ruler"]
    models: list[str]
    repository: str
    revision: str
    lengths: list[Positive] = Field(min_length=1)
    job_per_length: bool = False
    """Evaluate each length in a job of its own, where one takes hours."""

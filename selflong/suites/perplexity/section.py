"""Settings of perplexity."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from selflong.recipe.section import Positive
from selflong.suites.section import HubSuite

TASK = "documents"


class Perplexity(HubSuite):
    """How well a checkpoint foretells the end of long documents, from all that stands before.

    Of each document that has them the first `length` tokens are read, BOS among them, and the last
    `scored_tokens` of these count (arXiv 2410.02660, section 2.1: the last 32K of 64K, of PG19's books).
    """

    kind: Literal["perplexity"]
    scored_tokens: Positive
    """Of each document, at its end."""
    documents: Positive
    """Most of each length: the first of the set that are long enough."""
    column: str = "text"
    """Of the set, with the text of a document."""

    loads_checkpoints: ClassVar[bool] = True
    scores_are_perplexities: ClassVar[bool] = True

    @property
    def asked_tasks(self) -> tuple[str, ...]:
        """The only one."""
        return (TASK,)

    @model_validator(mode="after")
    def _something_stands_before(self) -> Self:
        if self.scored_tokens >= min(self.lengths):
            raise ValueError(
                f"scored_tokens: {self.scored_tokens} leave nothing before them at "
                f"{min(self.lengths)}; give fewer"
            )
        return self

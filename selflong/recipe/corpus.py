"""The documents of retrieval and of long outputs."""

from typing import Literal, Self

from pydantic import Field, model_validator

from selflong.recipe.section import NonNegative, Positive, Section, Shards, Share
from selflong.sources.documents import DocumentSource


class DocumentFilters(Section):
    """Documents that do not pass are counted with the reason."""

    language: str | None = None
    """The one that is kept, as the source's column `language` names it; null: all."""
    minimum_language_score: Share | None = None
    """Least value of the column `language_score`."""
    minimum_score: float | None = None
    """Least value of the column `score`."""
    minimum_tokens: NonNegative = 0
    """Of a document, in the target model's tokens."""
    maximum_tokens: Positive | None = None
    """Of a document; longer ones are left out, never cut."""
    drop_exact_duplicates: bool = True
    """Of documents with the same text one stays."""

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.maximum_tokens is not None and self.minimum_tokens > self.maximum_tokens:
            raise ValueError(
                f"minimum_tokens {self.minimum_tokens} is above maximum_tokens {self.maximum_tokens}"
            )
        return self


class Corpus(Section):
    """The documents of retrieval and of long outputs."""

    sources: list[DocumentSource] = Field(min_length=1)
    """Where its documents come from; of the same document in two the order decides nothing."""
    filters: DocumentFilters = DocumentFilters()
    sample: Positive | None = None
    """Documents to keep, drawn by the hash of their id; all where it is null."""
    shards: Shards
    evaluation_overlap: Literal["report", "remove"] = "report"
    """What happens to documents that share an n-gram with an evaluation's source."""
    overlap_ngram: Positive = 13
    """Words in a row that count as an overlap."""

"""The documents of retrieval and of long outputs."""

from typing import Literal

from pydantic import Field

from selflong.recipe.section import NonNegative, Positive, Section
from selflong.sources.documents import DocumentSource


class DocumentFilters(Section):
    """Documents that do not pass are counted with the reason."""

    language: str | None = None
    minimum_language_score: float | None = None
    minimum_score: float | None = None
    minimum_tokens: NonNegative = 0
    maximum_tokens: Positive | None = None
    drop_exact_duplicates: bool = True


class Corpus(Section):
    """The documents of retrieval and of long outputs."""

    sources: list[DocumentSource] = Field(min_length=1)
    filters: DocumentFilters = DocumentFilters()
    sample: Positive | None = None
    """Documents to keep, drawn by the hash of their id; all where it is null."""
    shards: Positive
    evaluation_overlap: Literal["report", "remove"] = "report"
    """What happens to documents that share an n-gram with an evaluation's source."""
    overlap_ngram: Positive = 13

"""What a stage trains on."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selflong.recipe.section import (
    Distinct,
    Name,
    NonNegative,
    Positive,
    Rate,
    Section,
    Seed,
    Share,
)
from selflong.sources.conversations import ConversationSource

Packing = Literal[
    "best_fit", "as_given", "single_document", "concatenated", "concatenated_dropping"
]


Ngram = Annotated[Positive, Field(le=1000)]
"""Words that overlaps are counted by."""


class MixtureEntry(Section):
    """One source of a mixture and how much of it."""

    source: ConversationSource
    """Where its rows come from."""
    epochs: Rate | None = None
    """How often all of it is taken."""
    tokens: Positive | None = None
    """Of a stage, in the trained model's tokens."""
    share: Annotated[Share, Field(gt=0)] | None = None
    """Of the tokens that a stage trains on. One of epochs, tokens and share is given."""
    packing: Packing = "best_fit"
    """best_fit: whole samples, together with those of other entries; as_given: each row is a sequence, with
    the documents that its source packed into it. ProLong's own (appendix B.2) cut: single_document: each
    sequence is full of one document, what is shorter is left out; concatenated: one after the other, drawn
    by their hash, the rest of a cut one opens the next sequence; concatenated_dropping: it is left out."""
    minimum_turns: Positive = 1
    """Answers that a conversation must hold."""
    minimum_tokens: NonNegative = 0
    """Of a sample; shorter ones are left out."""
    maximum_tokens: Positive | None = None
    """Of a sample."""

    @property
    def cuts(self) -> bool:
        """Whether a sample may be longer than a sequence."""
        return self.packing not in ("best_fit", "as_given")

    def wanted(self, offered: float, stage_tokens: float) -> float:
        """Tokens to take of `offered`, for a stage that trains on `stage_tokens`."""
        if self.tokens is not None:
            return self.tokens
        if self.share is not None:
            return self.share * stage_tokens
        return (self.epochs or 0) * offered

    @model_validator(mode="after")
    def _one_weight(self) -> Self:
        if [self.epochs, self.tokens, self.share].count(None) != 2:
            raise ValueError("give epochs, tokens or share, one of the three")
        if self.maximum_tokens is not None and self.minimum_tokens > self.maximum_tokens:
            raise ValueError(
                f"minimum_tokens {self.minimum_tokens} is above maximum_tokens {self.maximum_tokens}"
            )
        return self


class Deduplication(Section):
    """Exact after normalisation, then MinHash-LSH; a source named earlier keeps its row."""

    ngram: Ngram
    """Words of a shingle."""
    threshold: Annotated[float, Field(gt=0, le=1)]
    """Jaccard similarity of shingles from which two rows are the same."""
    permutations: Annotated[int, Field(ge=16, le=4096)]
    """Of MinHash; more find the similarity more exactly."""
    seed: Seed = 1


class Contamination(Section):
    """Overlap of the training data with the evaluation's own text; always reported."""

    suites: Annotated[list[str], Distinct]
    """Whose texts are looked for."""
    ngram: Ngram
    """Words in a row that count as an overlap."""
    remove: bool = False
    """Whether rows that overlap are left out; they are counted in any case."""


class Mixture(Section):
    """What a stage trains on."""

    entries: dict[Name, MixtureEntry] = Field(min_length=1)
    """Its sources, each with its weight, by the names that the tables show."""
    deduplication: Deduplication | None = None
    """Of rows; none where it is null."""
    contamination: Contamination
    assignment: Literal["every_stage", "one_stage"]
    """every_stage: a sample trains in each stage that it fits; one_stage: in the shortest that it fits, or
    drawn over the stages by its hash where it fits several."""
    longer_than_stage: Literal["leave_out", "refuse"]
    """Of a sample that fits no stage (or, with every_stage, not this one); it is counted, never cut."""

    document_masks: bool = True
    """Attention stays inside of a document; false: inside of a sequence, as if it were one (ProLong's
    ablation, appendix C.2)."""

    @property
    def vocabulary(self) -> int | None:
        """How many token ids its rows are made of, where those stand for no text; None where it is text."""
        sizes = [entry.source.vocabulary or 0 for entry in self.entries.values()]
        return max(sizes) or None

    @model_validator(mode="after")
    def _text_or_ids(self) -> Self:
        text = [name for name, entry in self.entries.items() if entry.source.vocabulary is None]
        if text and self.vocabulary is not None:
            raise ValueError(
                f"entry {text[0]!r} is text, others are token ids that stand for none: no model reads both"
            )
        return self

    @model_validator(mode="after")
    def _one_kind_in_a_sequence(self) -> Self:
        whole = [name for name, entry in self.entries.items() if entry.packing == "best_fit"]
        if not self.document_masks and whole:
            raise ValueError(
                f"document_masks is false: entry {whole[0]!r} shares sequences with others (best_fit); "
                "give it another packing"
            )
        return self

    @model_validator(mode="after")
    def _shares_of_one(self) -> Self:
        together = sum(entry.share or 0 for entry in self.entries.values())
        if together > 1.001:  # printed shares are rounded
            raise ValueError(f"shares of its entries come to {together:g}, more than 1")
        return self

    @model_validator(mode="after")
    def _cuts_in_every_stage(self) -> Self:
        for name, entry in self.entries.items():
            if entry.cuts and self.assignment == "one_stage":
                raise ValueError(
                    f"entry {name!r} cuts its documents ({entry.packing}), but one_stage gives each whole "
                    "sample to one stage: take every_stage"
                )
        return self

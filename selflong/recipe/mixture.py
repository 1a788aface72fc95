"""What a stage trains on."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selflong.recipe.section import Distinct, Name, Positive, Rate, Section, Seed
from selflong.sources.conversations import ConversationSource


class MixtureEntry(Section):
    """One source of a mixture and how much of it."""

    source: ConversationSource
    epochs: Rate | None = None
    tokens: Positive | None = None
    """Of a stage, in the trained model's tokens; exclusive with epochs."""
    minimum_turns: Positive = 1
    maximum_tokens: Positive | None = None

    @model_validator(mode="after")
    def _one_weight(self) -> Self:
        if (self.epochs is None) == (self.tokens is None):
            raise ValueError("give epochs or tokens, one of the two")
        return self


class Deduplication(Section):
    """Exact after normalisation, then MinHash-LSH; a source named earlier keeps its row."""

    ngram: Positive
    threshold: Annotated[float, Field(gt=0, le=1)]
    permutations: Annotated[int, Field(ge=16, le=4096)]
    seed: Seed = 1


class Contamination(Section):
    """Overlap of the training data with the evaluation's own text; always reported."""

    suites: Annotated[list[str], Distinct]
    ngram: Positive
    remove: bool = False


class Mixture(Section):
    """What a stage trains on."""

    entries: dict[Name, MixtureEntry] = Field(min_length=1)
    deduplication: Deduplication
    contamination: Contamination
    assignment: Literal["every_stage", "one_stage"]
    """every_stage: a sample trains in each stage that it fits; one_stage: in the shortest that it fits, or
    drawn over the stages by its hash where it fits several."""
    longer_than_stage: Literal["leave_out", "refuse"]
    """Of a sample that fits no stage (or, with every_stage, not this one); it is counted, never cut."""

"""Where a model's weights come from."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selflong.recipe.section import (
    Download,
    External,
    Package,
    Positive,
    Rate,
    Repository,
    Revision,
    Section,
)


class HubWeights(External):
    """A model on the Hugging Face hub."""

    kind: Literal["hub"]
    repository: Repository
    revision: Revision

    @property
    def download(self) -> Download:
        return Download(self.repository, self.revision)


class GgufWeights(External):
    """A GGUF file inside an installed Python package, found without importing the package."""

    kind: Literal["gguf"]
    package: Package
    """As it is imported."""
    file: str
    """Glob below the package's folder; it must match one file."""
    licence: str


class FolderWeights(External):
    """A Hugging Face model folder on this file system."""

    kind: Literal["folder"]
    path: Path
    """Of the folder."""

    @property
    def folder(self) -> Path:
        return self.path


class RandomWeights(External):
    """A Llama of the given size with random weights (the recall study starts from one)."""

    kind: Literal["random"]
    layers: Positive
    """Of the model."""
    hidden: Positive
    """Width of a token's state."""
    heads: Positive
    """Of attention."""
    key_value_heads: Positive
    """Heads of keys and values, which several heads of queries share."""
    intermediate: Positive
    """Width inside of an MLP."""
    vocabulary: Positive
    """Number of token ids."""
    rope_base: Rate
    """Of its rotary positions."""
    max_position_embeddings: Positive
    """Length that its configuration names."""
    initializer_range: Rate
    """Standard deviation of its weights."""

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.hidden % (2 * self.heads):
            raise ValueError(
                f"hidden {self.hidden} is no multiple of 2 x heads {self.heads}: rotary positions turn pairs"
            )
        if self.heads % self.key_value_heads:
            raise ValueError(
                f"heads {self.heads} is no multiple of key_value_heads {self.key_value_heads}"
            )
        return self


class Price(Section):
    """USD per million tokens."""

    prompt: float = Field(ge=0)
    """Of what it reads."""
    completion: float = Field(ge=0)
    """Of what it writes."""

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


class EndpointWeights(External):
    """A model that answers at an endpoint which the site names; of it only a tokenizer is here."""

    kind: Literal["endpoint"]
    model: str
    """Name that the endpoint knows it by."""
    context_tokens: Positive
    """Prompt and answer together."""
    tokenizer: Annotated[HubWeights | FolderWeights, Field(discriminator="kind")]
    """What counts the tokens of its prompts: its own tokenizer where that is public."""
    price: Price | None = None

    @property
    def download(self) -> Download | None:
        found = self.tokenizer.download
        return None if found is None else replace(found, weights=False)

    @property
    def folder(self) -> Path | None:
        return self.tokenizer.folder


Weights = Annotated[
    HubWeights | GgufWeights | FolderWeights | RandomWeights | EndpointWeights,
    Field(discriminator="kind"),
]

"""Where a model's weights come from."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from selflong.recipe.section import Download, External, Package, Positive, Rate, Repository


class HubWeights(External):
    """A model on the Hugging Face hub."""

    kind: Literal["hub"]
    repository: Repository
    revision: str

    @property
    def download(self) -> Download:
        return Download(self.repository, self.revision)


class GgufWeights(External):
    """A GGUF file inside an installed Python package, found without importing the package."""

    kind: Literal["gguf"]
    package: Package
    file: str
    """Glob below the package's folder; it must match one file."""
    licence: str


class FolderWeights(External):
    """A Hugging Face model folder on this file system."""

    kind: Literal["folder"]
    path: Path

    @property
    def folder(self) -> Path:
        return self.path


class RandomWeights(External):
    """A Llama of the given size with random weights (the recall study starts from one)."""

    kind: Literal["random"]
    layers: Positive
    hidden: Positive
    heads: Positive
    key_value_heads: Positive
    intermediate: Positive
    vocabulary: Positive
    rope_base: Rate
    max_position_embeddings: Positive
    initializer_range: Rate


Weights = Annotated[
    HubWeights | GgufWeights | FolderWeights | RandomWeights, Field(discriminator="kind")
]

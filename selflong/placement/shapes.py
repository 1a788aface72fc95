"""Shapes of models, by their config.json where it is on disk, and what follows: parameters, FLOPs, cache."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from selflong.formats import read_csv, read_object
from selflong.job import UserError
from selflong.recipe.weights import (
    EndpointWeights,
    GgufWeights,
    HubWeights,
    RandomWeights,
    Weights,
)

CONFIG = "config.json"


@dataclass(frozen=True)
class Architecture:
    """A decoder with grouped-query attention and a gated MLP (Llama, Mistral)."""

    layers: int
    hidden: int
    heads: int
    key_value_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    tied: bool

    @property
    def attention_width(self) -> int:
        return self.heads * self.head_size

    @property
    def key_value_width(self) -> int:
        return self.key_value_heads * self.head_size

    @property
    def layer_parameters(self) -> int:
        attention = self.hidden * (2 * self.attention_width + 2 * self.key_value_width)
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def embedding_parameters(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        embeddings = self.embedding_parameters * (1 if self.tied else 2)
        return embeddings + self.layers * self.layer_parameters + self.hidden

    def forward_flops(self, tokens: float, attended: float, logits: bool = True) -> float:
        """Of `tokens`, each of which looks back at `attended` tokens on average.

        In a causal document of n tokens a token attends n / 2; twice the multiplications, for the additions.
        """
        dense = self.layers * self.layer_parameters
        if logits:
            dense += self.embedding_parameters
        attention = self.layers * 2 * self.attention_width * attended
        return 2.0 * tokens * (dense + attention)

    def cache_bytes(self, tokens: float) -> float:
        """Keys and values of `tokens` in bf16."""
        return 2.0 * 2 * self.layers * self.key_value_width * tokens


SHAPES = Path(__file__).with_suffix(".csv")
_SIZES = [field.name for field in fields(Architecture) if field.name != "tied"]


def _shape(row: dict[str, str]) -> Architecture:
    sizes: dict[str, Any] = {name: int(row[name]) for name in _SIZES}
    return Architecture(**sizes, tied=row["tied"] == "true")


KNOWN = {row["model"]: _shape(row) for row in read_csv(SHAPES)}
"""Models whose shape is known before anything is on disk."""


def configuration_folder(work: Path, weights: HubWeights) -> Path:
    """Where a hub model's config.json is kept for the plan, before the model is downloaded."""
    return work / "configurations" / weights.download.name


def read_shape(folder: Path) -> Architecture:
    """Shape of the Hugging Face model in a folder; UserError where it is no decoder of this form."""
    config = read_object(folder / CONFIG)
    try:
        heads, hidden = _size(config, "num_attention_heads"), _size(config, "hidden_size")
        return Architecture(
            layers=_size(config, "num_hidden_layers"),
            hidden=hidden,
            heads=heads,
            key_value_heads=_size(config, "num_key_value_heads", heads),
            head_size=_size(config, "head_dim", hidden // heads),
            intermediate=_size(config, "intermediate_size"),
            vocabulary=_size(config, "vocab_size"),
            # transformers leaves out of the file what is the default of every model.
            tied=bool(config.get("tie_word_embeddings", True)),
        )
    except KeyError as missing:
        raise UserError(
            f"{folder / CONFIG} has no {missing}: name a decoder with attention and an MLP in each layer"
        ) from None
    except ValueError as wrong:
        raise UserError(f"{folder / CONFIG}: {wrong} is no size: fetch it again") from None


def _size(config: dict[str, Any], key: str, default: int | None = None) -> int:
    """A size in a configuration; KeyError where it is needed and missing, ValueError where it is none."""
    value = config[key] if default is None else config.get(key) or default
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(key)
    return value


def random_shape(weights: RandomWeights) -> Architecture:
    """Shape of a model that is built from chance, as its weights are written."""
    return Architecture(
        weights.layers, weights.hidden, weights.heads, weights.key_value_heads,
        weights.hidden // weights.heads, weights.intermediate, weights.vocabulary, tied=False,
    )  # fmt: skip


def architecture(weights: Weights | str, folder: Path | None = None) -> Architecture:
    """Shape of a model of a recipe: by its config.json where one is there, else by the table of known models.

    folder: where the weights lie, or will. UserError where neither knows it.
    """
    if isinstance(weights, EndpointWeights):
        raise UserError(f"the shape of {weights.model} is its endpoint's own matter")
    if isinstance(weights, RandomWeights):
        return random_shape(weights)
    if isinstance(weights, str):
        name = weights.removeprefix("package:")
    elif isinstance(weights, HubWeights):
        name = weights.repository
    elif isinstance(weights, GgufWeights):
        name = weights.package
    else:
        name, folder = str(weights.path), folder or weights.path
    if folder is not None and (folder / CONFIG).is_file():
        return read_shape(folder)
    if name not in KNOWN:
        raise UserError(
            f"the shape of {name} is not known before it is on disk: "
            "add it to selflong/placement/shapes.csv"
        )
    return KNOWN[name]

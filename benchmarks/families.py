"""Every family of causal language models that transformers offers: trained exactly, or refused.

    python benchmarks/families.py [model_type ...]

A tiny model with random weights of each family is trained on packed documents on 1, 2 and 3 ranks (rings),
and compared with transformers' eager attention on each document alone: loss and gradients, and through them
the logits. Prints one JSON line: `equal`, `refused` (by `check_exact`, before any job), `wrong` (neither;
must be 0), `worst_relative_error` of the equal ones, and what `selflong.recipe.families` should name and does
not, or the other way round. The sentences of the refused go to standard error.
"""

import json
import sys
from typing import Any

import torch
import torch.distributed as dist
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from benchmarks.on_cpu import expect_no_gpu
from selflong.job import UserError
from selflong.placement.ring import split
from selflong.recipe.families import TRAINED_EXACTLY
from selflong.training.attention import ATTENTION_NAME, PackedSequence
from selflong.training.families import check_exact, plain, relative_error, sample, tiny, twin
from selflong.training.layout import Layout, local_tokens, make_groups
from selflong.training.loss import IGNORE
from selflong.training.model import LossModel
from selflong.training.ranks import on_ranks

TOLERANCE = 1e-5
RINGS = (1, 2, 3)
# What default configurations leave out: windows, caps, rotation of a part, tied weights.
VARIANTS: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 64},
    "qwen2": {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1},
    "qwen3": {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1},
    "phi3": {"sliding_window": 64, "tie_word_embeddings": True},
    "gemma2": {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "granite": {"logits_scaling": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.5},
    "cohere": {"logit_scale": 0.3},
}


def settings(family: str) -> PreTrainedConfig:
    """A configuration of a family in which what sets it apart is felt."""
    return CONFIG_MAPPING[family](**VARIANTS.get(family, {}))


def errors(configs: dict[str, PreTrainedConfig]) -> dict[str, float]:
    """Relative error of each configuration on these ranks, in a ring; runs on every rank."""
    logging.set_verbosity_error()
    groups = make_groups(Layout(ring=dist.get_world_size()))
    return {name: _error(config, groups) for name, config in configs.items()}


def _error(config: PreTrainedConfig, groups: Any) -> float:
    given = sample()
    held = local_tokens(split(given.bounds, groups.layout.ring), groups.layout, groups.place)

    def cut(values: torch.Tensor, fill: int) -> torch.Tensor:
        return torch.nn.functional.pad(values, (0, len(held)), value=fill)[held]

    model = LossModel(twin(config, ATTENTION_NAME))
    loss = model.loss(
        cut(given.tokens, 0),
        cut(given.positions, 0),
        cut(given.labels, IGNORE),
        PackedSequence(given.bounds, groups),
    )
    loss.backward()
    total = loss.detach().clone()
    dist.all_reduce(total)
    gradients = {}
    for name, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        dist.all_reduce(gradient)
        gradients[name] = gradient
    return relative_error((float(total), gradients), plain(config, given))


def sort(families: list[str]) -> tuple[dict[str, PreTrainedConfig], dict[str, str]]:
    """Tiny configurations of the families that pass `check_exact`, and the sentences of the others."""
    passed, refused = {}, {}
    for family in families:
        try:
            config = settings(family)
            check_exact(config)
            passed[family] = tiny(config)
        except UserError as mistake:
            refused[family] = str(mistake)
        except StrictDataclassError as error:  # its own default configuration is none
            refused[family] = f"no default configuration: {error}"
    return passed, refused


def measure(families: list[str], rings: tuple[int, ...] = RINGS) -> tuple[dict[str, Any], set[str]]:
    """What the benchmark prints, and the names of the families that are equal."""
    passed, refused = sort(families)
    worst = dict.fromkeys(passed, 0.0)
    for ring in rings:
        for of_rank in on_ranks(ring, errors, passed):
            worst = {name: max(worst[name], error) for name, error in of_rank.items()}
    equal = {name for name, error in worst.items() if error <= TOLERANCE}
    for name, sentence in refused.items():
        print(f"{name}: {sentence}", file=sys.stderr)
    named = TRAINED_EXACTLY & set(families)
    return {
        "equal": len(equal),
        "refused": len(refused),
        "wrong": len(passed) - len(equal),
        "worst_relative_error": max((worst[name] for name in equal), default=0.0),
        "wrong_families": sorted(set(passed) - equal),
        "to_name": sorted(equal - named),
        "not_to_name": sorted(named - equal),
    }, equal


def main() -> None:
    expect_no_gpu()
    torch.set_num_threads(1)
    families = sys.argv[1:] or sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    print(json.dumps(measure(families)[0]))


if __name__ == "__main__":
    main()

"""Rotary position embeddings: base and scaling of each stage, and the one way to set them.

transformers and vLLM read both from ``config.rope_parameters`` when the model is built, and from nowhere
else: they must be set before. Models whose layers have windows (Gemma-3, OLMo-3) hold a block for each kind
of layer; a stage changes that of full attention, since a window does not grow. Angles are float32 there, and
so they are here.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from selflong.job import UserError

RopeRule = float | Literal["keep", "x4_per_doubling", "ntk"]
Scaling = Literal["keep", "drop", "linear", "yarn"]

FULL_ATTENTION = "full_attention"
_SCALING_KEYS = frozenset(
    {
        "type",
        "rope_type",
        "factor",
        "original_max_position_embeddings",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "short_factor",
        "long_factor",
        "low_freq_factor",
        "high_freq_factor",
        "mscale",
        "mscale_all_dim",
        "truncate",
    }
)


def _is_nested(parameters: dict[str, Any]) -> bool:
    return any(isinstance(value, dict) for value in parameters.values())


def rope_block(config: PreTrainedConfig) -> dict[str, Any]:
    """A copy of the rope parameters of the layers that attend without a window.

    Raises UserError where a configuration has none.
    """
    parameters = dict(getattr(config, "rope_parameters", None) or {})
    if _is_nested(parameters):
        parameters = dict(parameters.get(FULL_ATTENTION) or {})
    if "rope_theta" not in parameters:
        raise UserError(
            f"model type {config.model_type!r} has no rope_parameters with a rope_theta for layers of "
            "full attention: its positions cannot be extended, choose another model"
        )
    return parameters


def rope_base(config: PreTrainedConfig) -> float:
    """The rope base of a configuration."""
    return float(rope_block(config)["rope_theta"])


def head_size(config: PreTrainedConfig) -> int:
    """Width of an attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def rotary_size(config: PreTrainedConfig) -> int:
    """The part of a head's width that is rotated."""
    return int(head_size(config) * rope_block(config).get("partial_rotary_factor", 1.0))


def stage_rope_base(rule: RopeRule, before: float, scale: float, rotary_dim: int) -> float:
    """The base of a stage that reads ``scale`` times the length that its start was trained for.

    x4_per_doubling: arXiv 2412.18860, section 3.2. ntk: base * scale ** (d / (d - 2)), the NTK-aware
    rule, which stretches the lowest frequency by exactly ``scale``. Both leave the base as it is where
    the stage is not longer.
    """
    if isinstance(rule, int | float):
        return float(rule)
    longer = max(scale, 1.0)
    if rule == "keep":
        return before
    if rule == "x4_per_doubling":
        return before * 4.0 ** math.log2(longer)
    return before * longer ** (rotary_dim / (rotary_dim - 2))


def set_rope(
    config: PreTrainedConfig, base: float, length: int, scaling: Scaling, trained_length: int
) -> None:
    """Set the rope base, its scaling, and room for ``length`` positions, in a configuration.

    ``trained_length`` is the longest that the model was trained for before. A llama3 block divides low
    frequencies on top of the new base when it is kept; dropped, the base alone holds. linear divides all
    frequencies by how much longer the model has become (arXiv 2306.15595), yarn those that turn seldom
    within the length before any extension (arXiv 2309.00071, section 3); both take the place of what was
    there.
    """
    before = rope_block(config)
    rest = {key: value for key, value in before.items() if key not in _SCALING_KEYS}
    kind = before.get("rope_type", "default")
    if scaling == "keep":
        _check_kept(kind, length, trained_length)
        block = before
    elif scaling == "drop":
        block = rest | {"rope_type": "default"}
    elif scaling == "linear":
        factor = before["factor"] if kind == "linear" else 1.0
        factor *= max(1.0, length / trained_length)
        block = rest | {"rope_type": "linear", "factor": factor}
    else:
        original = before["original_max_position_embeddings"] if kind == "yarn" else trained_length
        block = rest | {
            "rope_type": "yarn",
            "factor": max(length, trained_length) / original,
            "original_max_position_embeddings": original,
        }
    block["rope_theta"] = float(base)
    nested = _is_nested(config.rope_parameters)
    config.rope_parameters = config.rope_parameters | {FULL_ATTENTION: block} if nested else block
    config.max_position_embeddings = max(config.max_position_embeddings, length)


def _check_kept(kind: str, length: int, trained_length: int) -> None:
    """A block that scales by a length of its own cannot stay where the length grows."""
    if kind in ("default", "llama3") or (kind in ("linear", "yarn") and length <= trained_length):
        return
    raise UserError(
        f"rope_scaling: keep does not extend rope type {kind!r} of the initial model from "
        f"{trained_length} to {length} tokens; set yarn, linear or drop"
    )


def rotary_embeddings(model: nn.Module) -> list[nn.Module]:
    """The modules of a model that compute rotary angles."""
    return [m for m in model.modules() if _frequencies(m)]


def _frequencies(module: nn.Module) -> dict[str, Tensor]:
    """Inverse frequencies that a module holds itself, by name: one, or one for each kind of layer."""
    buffers = module.named_buffers(recurse=False)
    return {name: value for name, value in buffers if name.endswith("inv_freq")}


def check_rotary_precision(model: nn.Module, config: PreTrainedConfig) -> None:
    """Raise RuntimeError where a model's inverse frequencies differ from those it would be served with.

    Casting a whole model to bfloat16 ruins them without a sign: the loss stays finite.
    """
    for module in rotary_embeddings(model):
        fresh = _frequencies(type(module)(config))
        for name, given in _frequencies(module).items():
            if given.dtype != torch.float32 or not torch.equal(given.cpu(), fresh[name].cpu()):
                raise RuntimeError(
                    "the model's rotary frequencies are not those of its configuration"
                )

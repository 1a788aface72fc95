"""Rotary position embeddings: the base of each stage, and the one way to set it.

transformers reads the base from ``config.rope_parameters["rope_theta"]`` when the model is built, and
from nowhere else: it must be set before. Angles are float32 there, and so they are here.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from selflong.job import UserError

RopeRule = float | Literal["keep", "x4_per_doubling", "ntk"]


def rope_base(config: PreTrainedConfig) -> float:
    """The rope base of a configuration."""
    return float(config.rope_parameters["rope_theta"])


def head_size(config: PreTrainedConfig) -> int:
    """Width of an attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def stage_rope_base(rule: RopeRule, before: float, scale: float, head_dim: int) -> float:
    """The base of a stage that reads ``scale`` times the length that its forerunner was trained for.

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
    return before * longer ** (head_dim / (head_dim - 2))


def set_rope(
    config: PreTrainedConfig, base: float, length: int, scaling: Literal["keep", "drop"]
) -> None:
    """Set the rope base, and room for ``length`` positions, in a configuration.

    A llama3 block divides low frequencies on top of the new base when it is kept; dropped, the base
    alone holds. Other kinds of scaling are refused: they would scale by a length of their own.
    """
    parameters = dict(config.rope_parameters)
    kind = parameters.get("rope_type", "default")
    if kind not in ("default", "llama3"):
        raise UserError(
            f"rope_scaling: the initial model's rope type {kind!r} is not supported; "
            "start from a model with rope type default or llama3"
        )
    if scaling == "drop":
        parameters = {"rope_type": "default"}
    parameters["rope_theta"] = float(base)
    config.rope_parameters = parameters
    config.max_position_embeddings = max(config.max_position_embeddings, length)


def rotary_embeddings(model: nn.Module) -> list[nn.Module]:
    """The modules of a model that compute rotary angles."""
    return [m for m in model.modules() if hasattr(m, "inv_freq")]


def check_rotary_precision(model: nn.Module, config: PreTrainedConfig) -> None:
    """Raise RuntimeError where a model's inverse frequencies differ from those it would be served with.

    Casting a whole model to bfloat16 ruins them without a sign: the loss stays finite.
    """
    for module in rotary_embeddings(model):
        fresh = type(module)(config)
        given, expected = module.get_buffer("inv_freq"), fresh.get_buffer("inv_freq")
        if given.dtype != torch.float32 or not torch.equal(given.cpu(), expected.cpu()):
            raise RuntimeError("the model's rotary frequencies are not those of its configuration")


def exact_angles(config: PreTrainedConfig, positions: Tensor) -> Tensor:
    """Angles [positions, head_dim / 2] in float64 of an unscaled rope, to measure float32 ones against."""
    dim = head_size(config)
    exponents = torch.arange(0, dim, 2, dtype=torch.float64) / dim
    return positions.double()[:, None] * rope_base(config) ** -exponents

"""Whether a model is trained exactly: measured on a tiny model of the same configuration.

transformers offers some two hundred families, and what sets them apart from Llama is not declared
anywhere. A model is therefore refused unless a twin with the same settings and small sizes computes, from
packed documents, the loss and the gradients that transformers' eager attention computes from each
document alone. The twin gets its tokens in a shuffled order: whatever but attention looks at other tokens,
or at the place of a token in memory, shows, as it would on ranks that hold slices of a sequence.
"""

import copy
import itertools
import logging
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.core_model_loading import revert_weight_conversion
from transformers.masking_utils import AttentionMaskInterface
from transformers.utils import logging as transformers_logging

from selflong.job import UserError
from selflong.training.attention import ATTENTION_NAME, PackedSequence, attention_forward
from selflong.training.layout import single_process
from selflong.training.loss import IGNORE
from selflong.training.model import LossModel

TOLERANCE = 1e-4
"""Largest difference, relative to the largest value, that rounding in float32 explains."""

_SHUFFLED = f"{ATTENTION_NAME}_shuffled"
_LENGTHS = (13, 1, 22, 7)
_WINDOW = 6
_VOCABULARY = 61
_MOST_LAYERS = 12
_MOST_PARAMETERS = 20_000_000
_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 48,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "vocab_size": _VOCABULARY,
    "max_position_embeddings": 4096,
    "q_lora_rank": 12,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
}
_HEADS, _HEAD_SIZE = 4, 16
_WINDOWS = ("sliding_window", "attention_chunk_size", "local_attention_window")
_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id")


def tiny(config: PreTrainedConfig) -> PreTrainedConfig:
    """A configuration with the same settings and small sizes, in which windows are felt and layers of all
    kinds occur."""
    settings = config.to_dict()
    given = {name: size for name, size in _SIZES.items() if settings.get(name)}
    heads = settings.get("num_attention_heads") or 1
    key_heads = settings.get("num_key_value_heads")
    given["num_attention_heads"] = _HEADS
    if key_heads:
        given["num_key_value_heads"] = _HEADS if key_heads == heads else 1 if key_heads == 1 else 2
    for name in ("head_dim", "global_head_dim"):
        if settings.get(name):
            given[name] = _HEAD_SIZE
    given |= {name: _WINDOW for name in _WINDOWS if settings.get(name)}
    given |= {name: 1 for name in _TOKENS if name in settings}
    given |= _layers(settings)
    result = copy.deepcopy(config)
    for name, value in given.items():
        setattr(result, name, value)
    return result


def _layers(settings: dict[str, Any]) -> dict[str, Any]:
    """The first layers, as many as it takes to have one of each kind."""
    layers = settings["num_hidden_layers"]
    by_layer = {
        name: value
        for name, value in settings.items()
        if isinstance(value, list) and len(value) == layers
    }
    kinds = list(zip(*by_layer.values(), strict=True)) or [()] * layers
    first_of_all = next(
        count
        for count in range(1, layers + 1)
        if len({*map(str, kinds[:count])}) == len({*map(str, kinds)})
    )
    count = min(layers, _MOST_LAYERS, max(2, first_of_all))
    return {"num_hidden_layers": count} | {k: v[:count] for k, v in by_layer.items()}


@dataclass(frozen=True)
class Sample:
    """Documents that the two ways of computing are compared on, one after another."""

    tokens: Tensor
    labels: Tensor
    """The next token of the same document."""
    positions: Tensor
    bounds: tuple[int, ...]


def sample() -> Sample:
    """Random documents, one of them a single token."""
    generator = torch.Generator().manual_seed(1)
    bounds = (0, *itertools.accumulate(_LENGTHS))
    tokens = torch.randint(2, _VOCABULARY, (bounds[-1],), generator=generator)
    labels = torch.full_like(tokens, IGNORE)
    for start, stop in itertools.pairwise(bounds):
        labels[start : stop - 1] = tokens[start + 1 : stop]
    positions = torch.cat([torch.arange(length) for length in _LENGTHS])
    return Sample(tokens, labels, positions, bounds)


def twin(config: PreTrainedConfig, attention: str) -> PreTrainedModel:
    """A model in float32 whose weights are the same for every `attention`, large enough that all counts."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = AutoModelForCausalLM.from_config(
            copy.deepcopy(config), attn_implementation=attention, dtype=torch.float32
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape) * 0.2)
    return model.train()


Gradients = dict[str, Tensor]


def plain(config: PreTrainedConfig, given: Sample) -> tuple[float, Gradients]:
    """Summed loss and gradients of each document alone, as transformers computes them."""
    model = twin(config, "eager")
    loss = torch.zeros(())
    for start, stop in itertools.pairwise(given.bounds):
        logits = model(given.tokens[None, start:stop], use_cache=False).logits[0]
        labels = given.labels[start:stop]
        loss = loss + F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    loss.backward()
    return float(loss.detach()), _gradients(model)


def _gradients(model: nn.Module) -> Gradients:
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
    }


def relative_error(ours: tuple[float, Gradients], expected: tuple[float, Gradients]) -> float:
    """The larger of the errors of the loss and of the whole gradient, relative to their size."""
    if ours[1].keys() != expected[1].keys():
        return math.inf
    loss = abs(ours[0] - expected[0]) / abs(expected[0])
    squares = sum(float((ours[1][n] - g).double().square().sum()) for n, g in expected[1].items())
    size = sum(float(g.double().square().sum()) for g in expected[1].values())
    error = max(loss, (squares / size) ** 0.5)
    return error if math.isfinite(error) else math.inf


@dataclass(frozen=True)
class _ShuffledSequence(PackedSequence):
    """A packed sequence whose tokens lie in memory in another order."""

    order: Tensor = field(default_factory=lambda: torch.arange(0), compare=False)


def _shuffled_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *args: Any,
    packed_sequence: _ShuffledSequence,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    order = packed_sequence.order
    q, k, v = (x[:, :, order.argsort()] for x in (query, key, value))
    out, _ = attention_forward(module, q, k, v, *args, packed_sequence=packed_sequence, **kwargs)
    return out[:, order], None


AttentionInterface.register(_SHUFFLED, _shuffled_attention)
AttentionMaskInterface.register(_SHUFFLED, lambda *args, **kwargs: None)


def _packed(config: PreTrainedConfig, given: Sample) -> tuple[float, Gradients, set[str]]:
    """Summed loss and gradients of all documents at once as training computes them; parameters' names."""
    model = LossModel(twin(config, _SHUFFLED))
    order = torch.randperm(len(given.tokens), generator=torch.Generator().manual_seed(2))
    sequence = _ShuffledSequence(given.bounds, single_process(), order=order)
    loss = model.loss(given.tokens[order], given.positions[order], given.labels[order], sequence)
    loss.backward()
    return float(loss.detach()), _gradients(model), set(dict(model.named_parameters()))


def check_exact(config: PreTrainedConfig) -> None:
    """Raise UserError, with the model type and the reason, where a model would not be trained exactly.

    Takes about a second. What a stage changes (base and scaling of rope) does not touch the answer.
    """
    place = f"model type {config.model_type!r} cannot be trained exactly"
    _check_settings(config, place)
    quiet = logging.getLogger("transformers").level
    transformers_logging.set_verbosity_error()
    try:
        small = tiny(config)
        _check_size(small)
        expected = plain(small, sample())
        loss, gradients, names = _packed(small, sample())
        stored = _stored_names(small)
    except UserError as mistake:
        raise UserError(f"{place}: {mistake}") from None
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{place}: a small model of its configuration does not run on packed documents ({reason}); "
            "choose another model"
        ) from None
    finally:
        logging.getLogger("transformers").setLevel(quiet)
    if stored != names:
        raise UserError(
            f"{place}: its weights are stored under other names than its parameters'; "
            "choose another model"
        )
    difference = relative_error((loss, gradients), expected)
    if difference > TOLERANCE:
        raise UserError(
            f"{place}: packed documents give another loss or other gradients than each document alone "
            f"(relative error {difference:.1g}); choose another model"
        )


def _check_settings(config: PreTrainedConfig, place: str) -> None:
    if getattr(config, "attention_dropout", 0.0):
        raise UserError(
            f"{place}: attention_dropout is {config.attention_dropout}; set it to 0 in its config.json"
        )
    if not getattr(config, "rope_parameters", None):
        raise UserError(
            f"{place}: its config.json has no rope_parameters, and stages extend rotary positions; "
            "choose another model"
        )


def _check_size(config: PreTrainedConfig) -> None:
    """A twin that stays large has parts that the sizes of a text model do not reach."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    if sum(p.numel() for p in model.parameters()) > _MOST_PARAMETERS:
        raise UserError("it holds more than a text model; choose another model")


def _stored_names(config: PreTrainedConfig) -> set[str]:
    """Names under which transformers stores a model: its parameters, each once, and what else it keeps."""
    model = twin(config, "eager")
    kept: dict[str, Tensor] = dict(model.named_parameters())
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)} - set(kept)
    kept |= {name: value for name, value in model.state_dict().items() if name not in tied}
    return set(revert_weight_conversion(model, kept))

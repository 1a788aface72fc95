"""What a device holds while it trains: a model, a length and a layout of parallelism."""

from dataclasses import dataclass

from selflong.placement.layout import Parallelism
from selflong.placement.machines import GB
from selflong.placement.shapes import Architecture

WEIGHT_BYTES = 2
"""Of a parameter in bf16: in a device, in a model folder, and of its gradient."""
OPTIMIZER_BYTES = 12
"""Of a parameter in float32: master weight and two moments, in memory and in a training checkpoint."""
LOSS_CHUNK_ELEMENTS = 2**26
"""Logits that the loss holds at once: 0.27 GB in float32."""
FRAMEWORK_BYTES = 2 * GB
"""CUDA context, NCCL buffers, kernels."""
CPU_FRAMEWORK_BYTES = 3.3 * GB
"""Libraries, and freed memory that a rank keeps: 4.7 to 5.8 GB in all in the laptop recipe's stages."""


@dataclass(frozen=True)
class Memory:
    """Peak bytes of one device, by part."""

    parameters: float
    gradients: float
    optimizer: float
    gathered: float
    """Whole layers that ZeRO-3 has gathered."""
    checkpoints: float
    """The hidden state that each layer keeps for the backward pass."""
    layer: float
    """What one layer holds while it is computed again and differentiated; all, without checkpointing."""
    ring: float
    loss: float
    framework: float

    @property
    def total(self) -> float:
        return sum(vars(self).values())


def layer_bytes(model: Architecture, tokens: int, element: int = 2) -> float:
    """Activations that autograd keeps for one layer, without those of its input.

    Two normalised inputs; queries, keys, values before and after rotation; attention's output; its
    residual sum; gate, activated gate, up and their product. Log-sum-exps are float32.
    """
    width = model.attention_width
    attention = 2 * width + 3 * model.key_value_width + width
    feed_forward = 4 * model.intermediate
    elements = 3 * model.hidden + attention + feed_forward
    return tokens * (element * elements + 4 * model.heads)


def loss_bytes(model: Architecture, tokens: int) -> float:
    """What the loss of a model in bf16 holds.

    A chunk's logits in bf16 and float32 and the gradient of the chunk before; the head's gradient in float32.
    """
    logits = min(LOSS_CHUNK_ELEMENTS, tokens * model.vocabulary)
    return (2.0 + 4.0 + 2.0) * logits + 4.0 * model.embedding_parameters


def memory(model: Architecture, length: int, layout: Parallelism, device: str = "cuda") -> Memory:
    """Peak of one device: weights and gradients in bf16, master weights and two moments in float32."""
    tokens = -(-length // layout.sequence)
    shard = [1, 1, 1, 1]  # of nothing, optimizer, gradients, parameters
    for stage in range(1, layout.zero_stage + 1):
        shard[stage] = layout.ranks
    layer = layer_bytes(model, tokens) * (1 if layout.activation_checkpointing else model.layers)
    kept_layers = 2 if layout.offload_activations else model.layers
    gathered = WEIGHT_BYTES * max(model.embedding_parameters, 2 * model.layer_parameters)
    return Memory(
        parameters=WEIGHT_BYTES * model.parameters / shard[3],
        gradients=WEIGHT_BYTES * model.parameters / shard[2],
        optimizer=0.0
        if layout.offload_optimizer
        else OPTIMIZER_BYTES * model.parameters / shard[1],
        gathered=gathered if layout.zero_stage == 3 and layout.ranks > 1 else 0.0,
        checkpoints=2.0 * kept_layers * tokens * model.hidden,
        # The gradients of the widest tensors live beside them.
        layer=layer + 2 * tokens * (2 * model.intermediate + model.hidden),
        # Keys and values that arrive, that are used and that leave, and their float32 gradients.
        ring=(3 * 2 + 2 * 4) * 2.0 * tokens * model.key_value_width if layout.sequence > 1 else 0.0,
        loss=loss_bytes(model, tokens),
        framework=float(FRAMEWORK_BYTES) if device == "cuda" else CPU_FRAMEWORK_BYTES,
    )

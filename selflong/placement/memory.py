"""What a device holds while it trains: a model, a length and a layout of parallelism."""

from dataclasses import dataclass

from selflong.placement.layout import Parallelism, shared_heads
from selflong.placement.machines import GB
from selflong.placement.shapes import Architecture

WEIGHT_BYTES = 2
"""Of a parameter in bf16: in a device and in a model folder."""
GRADIENT_BYTES = 4
"""Of a parameter: gradients are summed in float32."""
OPTIMIZER_BYTES = 12
"""Of a parameter in float32: master weight and two moments, in memory and in a training checkpoint."""
SWAP_BUFFERS = 4
"""Through which DeepSpeed reads and writes a parameter, its gradient and its moments on a disk."""
LOSS_ELEMENTS = 2**26
"""Logits that the loss holds at once, at least: 0.27 GB in float32."""
MOST_LOSS_ELEMENTS = 2**29
"""More would make the loss no faster: the head's gradient is read and written once for so many logits."""
PASSING_LAYERS = 2
"""Layers whose offloaded activations are on the device: one that is computed, and one on its way."""
REDUCE_BUCKET = 2 * 10**8
"""Gradients that are summed over ranks at once, in float32."""
CPU_REDUCE_BUCKET = 2**25
"""The same of ranks on a CPU: 0.13 GB, which their processes keep when it is freed."""
SUB_GROUP = 10**9
"""Parameters of a rank that ZeRO-3 steps at once, at most."""
LIVE_PARAMETERS = 10**9
"""Parameters that ZeRO-3 gathers ahead of their use, at most."""
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
    """Layers that ZeRO-3 has gathered, and those that it gathers ahead."""
    bucket: float
    """Gradients that are summed over ranks."""
    checkpoints: float
    """What layers keep for the backward pass: hidden states, attention's outputs and log-sum-exps, or all
    that autograd wants; rotary angles."""
    layer: float
    """What one layer holds while it is computed again and differentiated, and the head's gradient, where the
    embeddings share it."""
    loss: float
    """What the last norm and the output layer hold."""
    step: float
    """Gradients once more, as the optimizer takes them."""
    framework: float

    @property
    def held(self) -> float:
        """What lies there from the forward to the backward pass."""
        return sum(vars(self).values()) - self.layer - self.loss - self.step

    @property
    def total(self) -> float:
        """The loss is over when the layers are differentiated, and both when the optimizer steps."""
        stepping = self.held - self.gathered - self.checkpoints + self.step
        return max(self.held + max(self.layer, self.loss), stepping)


@dataclass(frozen=True)
class Offloaded:
    """Bytes that leave one device for its node."""

    memory: float
    disk: float


def layer_bytes(
    model: Architecture, tokens: int, mlp_tiles: int = 1, shared: bool = False
) -> float:
    """Activations that autograd keeps for one layer in bf16, without its input.

    Of each norm the input and what divides it in float32, and the normalised input before and after its
    weight; rotated queries and keys, values; attention's output, laid out anew where ranks share a sequence,
    and log-sum-exps in float32; gate, activated gate, up and their product.
    """
    norms = 2 * (8 * model.hidden + 4)
    outputs = 2 if shared else 1
    attention = 2 * ((1 + outputs) * model.attention_width + 2 * model.key_value_width)
    feed_forward = 8 * model.intermediate / mlp_tiles
    return tokens * (norms + attention + 4 * model.heads + feed_forward)


def backward_bytes(model: Architecture, tokens: int, layout: Parallelism) -> float:
    """What the backward pass of a layer holds beside what autograd kept, at its peak.

    The gradient that comes in. With it, in the MLP those of its two widest tensors; then, with the MLP's
    activations freed, what a norm computes in float32; then, with that norm's freed too, attention: its
    operands and their gradients once more, as its kernels want them, and inside of the kernels the queries'
    gradient in float32 and the keys' and values' for each query head (flash-attn 2). In a ring, the queries'
    gradient in float32; keys and values that arrive, are used and leave, and their float32 gradients.
    """
    wide, narrow = model.attention_width, model.key_value_width
    feed_forward = 4 * model.intermediate / layout.mlp_tiles
    if layout.mlp_tiles > 1:
        feed_forward += 4 * model.hidden  # gradients of the parts, and of them all
    freed = 8 * model.intermediate / layout.mlp_tiles
    norm = 16 * model.hidden - freed
    freed += 8 * model.hidden + 4 + (2 * wide if layout.sequence > 1 else 0)
    operands = 2 * (4 * wide + 4 * narrow)
    kernel = 4 * wide + 2 * 2 * wide
    exchanged = 0
    if _has_ring(model, layout):
        # The output too is copied: its blocks were added up in another order of dimensions.
        exchanged = 2 * wide + 4 * wide + 2 * (3 * 2 + 2 * 4) * narrow
    attention = operands + kernel + exchanged - freed
    return float(tokens * (2 * model.hidden + max(feed_forward, norm, attention)))


def _has_ring(model: Architecture, layout: Parallelism) -> bool:
    sequence = layout.sequence
    heads = layout.ulysses or shared_heads(
        sequence, model.heads, model.key_value_heads, ranks_per_node=sequence
    )
    return sequence > heads


def kept_bytes(model: Architecture, tokens: int, layout: Parallelism) -> float:
    """What a layer that is computed again keeps from the forward pass."""
    attention = 2 * model.attention_width + 4 * model.heads if layout.keep_attention else 0
    return float(tokens * (2 * model.hidden + attention))


def checkpoint_bytes(model: Architecture, tokens: int, layout: Parallelism) -> float:
    """What all layers keep on the device, the last one's output, rotary angles, and the batch itself."""
    if layout.activation_checkpointing:
        kept = kept_bytes(model, tokens, layout) * held_layers(model, layout)
    else:
        kept = model.layers * layer_bytes(model, tokens, layout.mlp_tiles, layout.sequence > 1)
    batch = 3 * 8  # ids, labels, positions
    return kept + tokens * (2 * model.hidden + 2 * 2 * model.head_size + batch)


def held_layers(model: Architecture, layout: Parallelism) -> int:
    """Layers whose activations a device holds at once."""
    if not layout.offload_activations:
        return model.layers
    return min(model.layers, PASSING_LAYERS + (layout.resident_layers or 0))


def spare_layers(
    model: Architecture, tokens: int, layout: Parallelism, need: Memory, usable: float
) -> int:
    """Layers more whose activations a device holds, when the loss has taken what makes it faster."""
    roomy_loss = need.loss + _LOGIT_BYTES * (MOST_LOSS_ELEMENTS - LOSS_ELEMENTS)
    left = usable - need.held - max(need.layer, roomy_loss)
    layers = int(max(0.0, left) // kept_bytes(model, tokens, layout))
    return min(layers, model.layers - PASSING_LAYERS)


def loss_rows(vocabulary: int, elements: int = LOSS_ELEMENTS) -> int:
    """Tokens that have so many logits, or one."""
    return max(1, elements // vocabulary)


def roomy_loss_rows(model: Architecture, spare: float) -> int:
    """Tokens whose logits the loss may hold at once where so many bytes are left on the device."""
    elements = LOSS_ELEMENTS + max(0.0, spare) / _LOGIT_BYTES
    return loss_rows(model.vocabulary, int(min(MOST_LOSS_ELEMENTS, elements)))


_LOGIT_BYTES = 2.0 + 4.0 + 2.0
"""A logit in bf16 and float32, and its gradient."""


def loss_bytes(model: Architecture, tokens: int, rows: int | None = None) -> float:
    """What the last norm and the loss of a model in bf16 hold, beside the norm's input, which is freed.

    Of the norm what a layer's keeps, and the gradient of its output; which tokens count; of `rows` of them
    hidden states, sums, logits, and the gradient of the logits before; the head's gradient in float32, at the
    end in bf16 as well.
    """
    held = min(rows or loss_rows(model.vocabulary), tokens)
    logits, head = held * model.vocabulary, model.embedding_parameters
    most = max(_LOGIT_BYTES * logits + held * (2 * model.hidden + 20), 2 * logits + 2 * head)
    return tokens * (8.0 * model.hidden + 4 + 8) + 4.0 * head + most


def _held_weights(model: Architecture, layout: Parallelism, shard: int) -> float:
    """Weights that a device holds throughout: its share, and what the node's ranks hold a second time."""
    own = 0.0 if layout.offload_parameters else WEIGHT_BYTES * model.parameters / shard
    second = layout.zero_hpz_partition_size
    return own + (WEIGHT_BYTES * model.parameters / second if second > 1 else 0.0)


def _bucket_bytes(model: Architecture, device: str) -> float:
    """The buffer of gradients that are to be summed; GPUs lay it out anew, by rank, before they send it."""
    if device == "cpu":
        return float(GRADIENT_BYTES * min(CPU_REDUCE_BUCKET, model.parameters))
    return float(GRADIENT_BYTES * (REDUCE_BUCKET + min(REDUCE_BUCKET, model.parameters)))


def memory(model: Architecture, length: int, layout: Parallelism, device: str = "cuda") -> Memory:
    """Peak of one device: weights in bf16; gradients, master weights and two moments in float32."""
    tokens = -(-length // layout.sequence)
    shard = [1, 1, 1, 1]  # of nothing, optimizer, gradients, parameters
    for stage in range(1, layout.zero_stage + 1):
        shard[stage] = layout.ranks
    layer = backward_bytes(model, tokens, layout)
    if layout.activation_checkpointing:
        layer += layer_bytes(model, tokens, layout.mlp_tiles, layout.sequence > 1)
    gathered = min(model.parameters, max(model.embedding_parameters, LIVE_PARAMETERS))
    stepped = model.parameters / shard[1]
    if layout.zero_stage == 3:
        stepped = min(stepped, SUB_GROUP)
    # Under ZeRO 1 bf16 gradients of all parameters lie beside their float32 sums.
    narrow = WEIGHT_BYTES * model.parameters if layout.zero_stage == 1 else 0.0
    return Memory(
        parameters=_held_weights(model, layout, shard[3]),
        gradients=narrow
        + (0.0 if layout.offload_optimizer else GRADIENT_BYTES * model.parameters / shard[1]),
        optimizer=0.0
        if layout.offload_optimizer
        else OPTIMIZER_BYTES * model.parameters / shard[1],
        gathered=WEIGHT_BYTES * gathered if layout.zero_stage == 3 and layout.ranks > 1 else 0.0,
        bucket=_bucket_bytes(model, device),
        checkpoints=checkpoint_bytes(model, tokens, layout),
        layer=layer + (WEIGHT_BYTES * model.embedding_parameters if model.tied else 0.0),
        loss=loss_bytes(model, tokens, layout.loss_rows),
        step=0.0 if layout.offload_optimizer else GRADIENT_BYTES * stepped,
        framework=float(FRAMEWORK_BYTES) if device == "cuda" else CPU_FRAMEWORK_BYTES,
    )


def offloaded(model: Architecture, length: int, layout: Parallelism) -> Offloaded:
    """What one device leaves to its node.

    DeepSpeed sums gradients in the node's memory wherever the optimizer's state lies, and hands them to the
    optimizer in a second copy, which goes where the state goes.
    """
    share = model.parameters / layout.ranks
    tokens = -(-length // layout.sequence)
    away = model.layers - held_layers(model, layout)
    held = away * kept_bytes(model, tokens, layout) if layout.activation_checkpointing else 0.0
    if layout.offload_parameters:
        held += WEIGHT_BYTES * share
    if not layout.offload_optimizer:
        return Offloaded(held, 0.0)
    held += GRADIENT_BYTES * share
    state = (OPTIMIZER_BYTES + GRADIENT_BYTES) * share
    if not layout.offload_nvme:
        return Offloaded(held + state, 0.0)
    largest = model.hidden * max(model.vocabulary, model.intermediate) / layout.ranks
    return Offloaded(held + SWAP_BUFFERS * GRADIENT_BYTES * largest, state)

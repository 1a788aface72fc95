"""Memory of a device and time of a step for a model, a length and a layout of parallelism."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from selflong.plan.architecture import Architecture
from selflong.plan.machines import GB, Machine

FRAMEWORK_BYTES = 2 * GB
"""CUDA context, NCCL buffers, kernels."""
LOSS_CHUNK_TOKENS = 1024
CPU_FRAMEWORK_BYTES = 3.3 * GB
"""Libraries, and freed memory that a rank keeps: 4.7 to 5.8 GB in all in the laptop recipe's stages."""
NODE_COUNTS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Parallelism:
    """Ranks and what leaves the device."""

    ranks: int
    sequence: int
    """Ranks that share one sequence."""
    zero_stage: int = 3
    offload_optimizer: bool = False
    offload_activations: bool = False
    activation_checkpointing: bool = True


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


def memory(model: Architecture, length: int, layout: Parallelism, device: str = "cuda") -> Memory:
    """Peak of one device: weights and gradients in bf16, master weights and two moments in float32."""
    tokens = -(-length // layout.sequence)
    shard = [1, 1, 1, 1]  # of nothing, optimizer, gradients, parameters
    for stage in range(1, layout.zero_stage + 1):
        shard[stage] = layout.ranks
    layer = layer_bytes(model, tokens) * (1 if layout.activation_checkpointing else model.layers)
    kept_layers = 2 if layout.offload_activations else model.layers
    gathered = 2 * max(model.embedding_parameters, 2 * model.layer_parameters)
    return Memory(
        parameters=2 * model.parameters / shard[3],
        gradients=2 * model.parameters / shard[2],
        optimizer=0.0 if layout.offload_optimizer else 12 * model.parameters / shard[1],
        gathered=gathered if layout.zero_stage == 3 and layout.ranks > 1 else 0.0,
        checkpoints=2.0 * kept_layers * tokens * model.hidden,
        # The gradients of the widest tensors live beside them.
        layer=layer + 2 * tokens * (2 * model.intermediate + model.hidden),
        # Keys and values that arrive, that are used and that leave, and their float32 gradients.
        ring=(3 * 2 + 2 * 4) * 2.0 * tokens * model.key_value_width if layout.sequence > 1 else 0.0,
        loss=LOSS_CHUNK_TOKENS * model.vocabulary * 8.0,
        framework=float(FRAMEWORK_BYTES) if device == "cuda" else CPU_FRAMEWORK_BYTES,
    )


def step_flops(model: Architecture, tokens: float, attended: float) -> float:
    """Model FLOPs of forward and backward."""
    return 3 * model.forward_flops(tokens, attended)


def seconds_of(
    model: Architecture, tokens: float, attended: float, machine: Machine, devices: int
) -> float:
    """Time to train on `tokens`; the machine's share of its peak holds the recomputation already."""
    return step_flops(model, tokens, attended) / (devices * machine.flops * machine.training_share)


def layouts(ranks: int, sequences: int, offload: bool = True) -> Iterator[Parallelism]:
    """Layouts to try, the cheapest first: rings as short as may be, then the longest with offloading.

    What a ring leaves of the ranks is data parallel, as far as the `sequences` of a step keep them busy. What
    is offloaded lies in the node's memory, where the longest ring needs the least.
    """
    for sequence in range(1, ranks + 1):
        if ranks % sequence == 0 and ranks // sequence <= sequences:
            yield Parallelism(ranks, sequence)
    if offload:
        yield Parallelism(ranks, ranks, offload_activations=True)
        yield Parallelism(ranks, ranks, offload_activations=True, offload_optimizer=True)


def shared_heads(sequence: int, heads: int, key_value_heads: int, ranks_per_node: int) -> int:
    """The Ulysses degree of ranks that share a sequence: the largest that node and key-value heads allow.

    Under Ulysses every rank has the same work whatever the documents; what is left is a ring's.
    """
    return math.gcd(sequence, heads, key_value_heads, ranks_per_node)


@dataclass(frozen=True)
class Fit:
    """A layout and what it needs."""

    layout: Parallelism
    memory: Memory
    nodes: int
    fits: bool


def first_fit(
    model: Architecture,
    length: int,
    tried: Iterable[Parallelism],
    nodes: int,
    machine: Machine,
    device: str = "cuda",
) -> Fit:
    """The first layout whose devices hold the stage; the last where none does."""
    fit = None
    for layout in tried:
        need = memory(model, length, layout, device)
        fit = Fit(layout, need, nodes, need.total <= machine.usable_memory)
        if fit.fits:
            break
    assert fit is not None
    return fit


def choose(model: Architecture, length: int, sequences: int, machine: Machine) -> Fit:
    """The cheapest layout on the fewest nodes that hold the stage; the largest tried where none does."""
    for nodes in NODE_COUNTS:
        tried = layouts(nodes * machine.devices_per_node, sequences)
        fit = first_fit(model, length, tried, nodes, machine)
        if fit.fits:
            break
    return fit

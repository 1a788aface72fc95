"""Memory of a device and time of a step for a model, a length and a layout of parallelism."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

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
    """What one layer holds while it is computed again and differentiated."""
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
    layer = layer_bytes(model, tokens)
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


def layouts(machine: Machine, length: int) -> Iterator[Parallelism]:
    """Layouts to try, the cheapest first: fewer nodes, then less offloading.

    All ranks share a sequence where they are no more than the sequence bears: 2,048 tokens each.
    """
    for nodes in NODE_COUNTS:
        ranks = nodes * machine.devices_per_node
        sequence = ranks
        while sequence > 1 and length // sequence < 2048:
            sequence //= 2
        base = Parallelism(ranks, sequence)
        yield base
        yield replace(base, offload_activations=True)
        yield replace(base, offload_activations=True, offload_optimizer=True)


@dataclass(frozen=True)
class Fit:
    """A layout and what it needs."""

    layout: Parallelism
    memory: Memory
    nodes: int
    fits: bool


def choose(model: Architecture, length: int, machine: Machine) -> Fit:
    """The cheapest layout whose devices hold the stage; the largest tried where none does."""
    fit = None
    for layout in layouts(machine, length):
        need = memory(model, length, layout)
        nodes = layout.ranks // machine.devices_per_node
        fit = Fit(layout, need, nodes, need.total <= machine.usable_memory)
        if fit.fits:
            return fit
    assert fit is not None
    return fit

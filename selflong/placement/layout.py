"""How the ranks of a training job share sequences, and what leaves their devices."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Parallelism:
    """Ranks and what leaves the device."""

    ranks: int
    sequence: int
    """Ranks that share one sequence."""
    zero_stage: int = 3
    offload_optimizer: bool = False
    offload_activations: bool = False
    resident_layers: int | None = None
    """Layers whose activations stay on the device all the same; None: as many as fit."""
    activation_checkpointing: bool = True
    keep_attention: bool = True
    offload_parameters: bool = False
    offload_nvme: bool = False
    """The optimizer's state, where it is offloaded, goes to the node's disk."""
    zero_hpz_partition_size: int = 1
    mlp_tiles: int = 1
    loss_rows: int | None = None
    ulysses: int | None = None
    """Of the ranks that share a sequence those that share its heads; None: as many as heads allow."""


def shared_heads(sequence: int, heads: int, key_value_heads: int, ranks_per_node: int) -> int:
    """The Ulysses degree of ranks that share a sequence: the largest that node and key-value heads allow.

    Under Ulysses every rank has the same work whatever the documents; what is left is a ring's.
    """
    return math.gcd(sequence, heads, key_value_heads, ranks_per_node)


def heads_divide(ulysses: int, heads: int, key_value_heads: int) -> bool:
    """Whether so many ranks can share a model's heads; of key-value heads that are fewer each has a copy."""
    even = key_value_heads % ulysses == 0 or ulysses % key_value_heads == 0
    return heads % ulysses == 0 and even


MLP_TILES = 8
"""Where nothing else fits: each MLP then holds an eighth of its activations."""
BUSY_TOKENS = 8192
"""Of a rank that shares a sequence's heads: enough for kernels and exchanges to be worth their start."""


def even_sequence(length: int, heads: int, key_value_heads: int, ranks_per_node: int) -> int:
    """Ranks of a node that best share a sequence of `length`, whatever fits: by heads all have the same work,
    while ranks with sequences of their own wait for the one with the longest documents."""
    most = shared_heads(ranks_per_node, heads, key_value_heads, ranks_per_node)
    return max(
        n for n in range(1, most + 1) if most % n == 0 and n <= max(1, length // BUSY_TOKENS)
    )


def layouts(
    ranks: int, sequences: int, offload: bool = True, least: int = 1
) -> Iterator[Parallelism]:
    """Layouts to try, the cheapest first: rings as short as may be, then the longest with offloading.

    At least `least` ranks share a sequence, where that divides them. What a ring leaves of the ranks is data
    parallel, as far as the `sequences` of a step keep them busy. What is offloaded lies in the node's memory,
    where the longest ring needs the least.
    """
    for sequence in range(least if ranks % least == 0 else 1, ranks + 1):
        if ranks % sequence == 0 and ranks // sequence <= sequences:
            yield Parallelism(ranks, sequence)
    if offload:
        yield Parallelism(ranks, ranks, offload_activations=True)
        yield Parallelism(ranks, ranks, offload_activations=True, offload_optimizer=True)
    # An MLP computed once more costs less than attention.
    yield Parallelism(ranks, ranks, 3, offload, offload, mlp_tiles=MLP_TILES)
    yield Parallelism(ranks, ranks, 3, offload, offload, keep_attention=False, mlp_tiles=MLP_TILES)


def balanced_slots(costs: Sequence[float], data: int) -> list[list[int | None]]:
    """Assign the sequences of a global batch to data-parallel groups.

    All groups step together, so a micro-step lasts as long as its dearest sequence: neighbours in cost
    share a micro-step. Returns one row per micro-step with one sequence index per group; ``None`` where
    a group has nothing left to do.
    """
    order = sorted(range(len(costs)), key=lambda i: (-costs[i], i))
    slots: list[list[int | None]] = []
    for start in range(0, len(order), data):
        row: list[int | None] = list(order[start : start + data])
        row += [None] * (data - len(row))
        # Reversing every other row evens out the totals as well.
        slots.append(row[::-1] if len(slots) % 2 else row)
    return slots

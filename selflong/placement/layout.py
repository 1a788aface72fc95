"""How the ranks of a training job share sequences, and what leaves their devices."""

import math
from collections.abc import Iterator
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
    activation_checkpointing: bool = True


def shared_heads(sequence: int, heads: int, key_value_heads: int, ranks_per_node: int) -> int:
    """The Ulysses degree of ranks that share a sequence: the largest that node and key-value heads allow.

    Under Ulysses every rank has the same work whatever the documents; what is left is a ring's.
    """
    return math.gcd(sequence, heads, key_value_heads, ranks_per_node)


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

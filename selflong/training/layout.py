"""How ranks divide a global batch: data parallel x ring x Ulysses.

A global rank is ``(data * ring + ring_index) * ulysses + ulysses_index``: Ulysses ranks, which exchange
the most, are neighbours; the ring comes next; data-parallel groups are farthest apart.

The ring shares out each document (``placement/ring.py``); Ulysses ranks hold equal contiguous slices of what
their ring index holds.
"""

from dataclasses import dataclass

import numpy as np
import torch.distributed as dist

from selflong.job import UserError
from selflong.placement.layout import heads_divide
from selflong.placement.ring import Integers, RingSplit


@dataclass(frozen=True)
class Place:
    """Coordinates of one rank."""

    data: int
    ring: int
    ulysses: int


@dataclass(frozen=True)
class Layout:
    """Degrees of parallelism; their product is the number of ranks."""

    ring: int = 1
    ulysses: int = 1
    data: int = 1

    def __post_init__(self) -> None:
        for name in ("ring", "ulysses", "data"):
            if getattr(self, name) < 1:
                raise UserError(f"layout.{name} is {getattr(self, name)}; it must be at least 1.")

    @property
    def sequence(self) -> int:
        """Ranks that share one sequence."""
        return self.ring * self.ulysses

    @property
    def world(self) -> int:
        return self.sequence * self.data

    def place(self, rank: int) -> Place:
        rest, ulysses = divmod(rank, self.ulysses)
        data, ring = divmod(rest, self.ring)
        return Place(data, ring, ulysses)

    def rank(self, place: Place) -> int:
        return (place.data * self.ring + place.ring) * self.ulysses + place.ulysses

    def padded(self, split: RingSplit) -> int:
        """Tokens of each ring index: those of the one that holds the most, for Ulysses ranks to share."""
        return -(-split.most // self.ulysses) * self.ulysses

    def check_heads(self, heads: int, key_value_heads: int) -> None:
        """Raise UserError where the attention heads cannot be divided among the Ulysses ranks."""
        if not heads_divide(self.ulysses, heads, key_value_heads):
            raise UserError(
                f"layout.ulysses is {self.ulysses}, but the model has {heads} attention heads and "
                f"{key_value_heads} key-value heads; choose a divisor of both, or use layout.ring."
            )


def local_tokens(split: RingSplit, layout: Layout, place: Place) -> Integers:
    """Tokens of a sequence that a rank holds, in local order; from ``split.tokens`` on padding."""
    held = split.held(place.ring)
    padding = layout.padded(split) - len(held)
    held = np.concatenate([held, split.tokens + np.arange(padding)])
    share = len(held) // layout.ulysses
    return held[place.ulysses * share : (place.ulysses + 1) * share]


@dataclass(frozen=True)
class Groups:
    """Process groups of one rank; ``None`` stands for a group of one."""

    layout: Layout
    place: Place
    ring: dist.ProcessGroup | None
    ring_gradients: dist.ProcessGroup | None
    """The ring again: gradients that travel do not wait for keys and values that do."""
    ulysses: dist.ProcessGroup | None


def single_process() -> Groups:
    """The groups of a process that works alone."""
    return Groups(Layout(), Place(0, 0, 0), None, None, None)


def make_groups(layout: Layout) -> Groups:
    """Create every process group of the layout. Collective: all ranks call it once, in step."""
    world = dist.get_world_size()
    if layout.world != world:
        raise UserError(
            f"layout ring {layout.ring} x ulysses {layout.ulysses} x data {layout.data} needs "
            f"{layout.world} ranks, but {world} were started."
        )
    place = layout.place(dist.get_rank())
    ring_group = gradient_group = ulysses_group = None
    for data in range(layout.data):
        if layout.ring > 1:
            for ulysses in range(layout.ulysses):
                members = [layout.rank(Place(data, r, ulysses)) for r in range(layout.ring)]
                both = dist.new_group(members), dist.new_group(members)
                if (place.data, place.ulysses) == (data, ulysses):
                    ring_group, gradient_group = both
        if layout.ulysses > 1:
            for ring in range(layout.ring):
                members = [layout.rank(Place(data, ring, u)) for u in range(layout.ulysses)]
                group = dist.new_group(members)
                if (place.data, place.ring) == (data, ring):
                    ulysses_group = group
    return Groups(layout, place, ring_group, gradient_group, ulysses_group)

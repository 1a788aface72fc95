"""How the ranks of a ring share a packed sequence: whatever its documents are, all finish together."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_PART = 128
"""Tokens of a part of a document: a shorter one would fill no tile of an attention kernel."""
WHOLE_SHARE = 8
"""A document stays whole up to this part of what a ring index holds: the indices' tokens even out."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class RingSplit:
    """Where the tokens of a packed sequence lie.

    A long document is cut into 2 x ring equal parts, of which ring index r holds the r-th and the r-th last
    (zigzag): of its causal attention each index has the same share at each turn of the ring. A short one
    lies whole with the index that holds the fewest tokens. An index holds its first parts, then its last
    parts, then its whole documents.
    """

    tokens: int
    starts: Integers
    """[2 x ring, cut documents]: the first token of each part; a part ends where the next one starts."""
    stops: Integers
    whole: tuple[Integers, ...]
    """Of each ring index [documents, 2]: where its whole documents start and stop."""

    @property
    def ring(self) -> int:
        return len(self.whole)

    @cached_property
    def sizes(self) -> Integers:
        """Tokens of each part, none of which is empty."""
        return self.stops - self.starts

    def parts(self, index: int) -> tuple[int, int]:
        """The rows of `starts` that a ring index holds."""
        return index, 2 * self.ring - 1 - index

    def _segments(self, index: int) -> tuple[Integers, Integers]:
        """Where what a ring index holds starts in the sequence, and how long it is, in local order."""
        rows = list(self.parts(index)) if self.starts.size else []
        starts, stops = self.whole[index].T
        return (
            np.concatenate([self.starts[rows].ravel(), starts]),
            np.concatenate([self.sizes[rows].ravel(), stops - starts]),
        )

    def held(self, index: int) -> Integers:
        """The tokens of a ring index, in local order."""
        starts, sizes = self._segments(index)
        before = np.cumsum(sizes) - sizes
        return np.repeat(starts - before, sizes) + np.arange(int(sizes.sum()))

    def bounds(self, index: int) -> list[int]:
        """Cumulative bounds of the documents, or their parts, that a ring index holds, from 0."""
        return [0, *np.cumsum(self._segments(index)[1]).tolist()]

    def bounds_of(self, index: int, part: int) -> list[int]:
        """Local bounds of the cut documents in a part that a ring index holds."""
        first, _ = self.parts(index)
        before = 0 if part == first else int(self.sizes[first].sum())
        return [before, *(before + np.cumsum(self.sizes[part])).tolist()]

    @cached_property
    def most(self) -> int:
        """Tokens of the ring index that holds the most."""
        return max(self.bounds(index)[-1] for index in range(self.ring))

    def crossings(self, queries: int, keys: int) -> Iterator[tuple[int, int]]:
        """Parts of one ring index whose queries see keys of a part of another (or the same) one."""
        for part in self.parts(queries):
            for earlier in self.parts(keys):
                if earlier < part:
                    yield part, earlier


def split(bounds: Sequence[int], ring: int) -> RingSplit:
    """Share out the documents with these cumulative bounds; the same on every rank."""
    edges = np.asarray(bounds, dtype=np.int64)
    first, sizes = edges[:-1], np.diff(edges)
    tokens = int(edges[-1])
    shortest = max(2 * ring, min(2 * ring * LEAST_PART, tokens // (WHOLE_SHARE * ring)))
    cut = (sizes >= shortest) if ring > 1 else np.zeros(len(sizes), dtype=np.bool_)
    places = np.arange(2 * ring + 1)[:, None]
    cuts = first[cut] + sizes[cut] * places // (2 * ring)
    whole = np.stack([first, edges[1:]], axis=1)[~cut]
    halves = np.diff(cuts, axis=0).sum(axis=1)
    load = halves[:ring] + halves[: ring - 1 : -1]
    return RingSplit(tokens, cuts[:-1], cuts[1:], _shared_out(whole, load))


def _shared_out(documents: Integers, load: Any) -> tuple[Integers, ...]:
    """The documents of each ring index: the longest is given away first, to the least loaded."""
    sizes = documents[:, 1] - documents[:, 0]
    waiting = [(int(tokens), index) for index, tokens in enumerate(load)]
    heapq.heapify(waiting)
    owner = np.zeros(len(documents), dtype=np.int64)
    for document in np.argsort(-sizes, kind="stable").tolist() if len(waiting) > 1 else ():
        tokens, index = waiting[0]
        owner[document] = index
        heapq.heapreplace(waiting, (tokens + int(sizes[document]), index))
    return tuple(documents[owner == index] for index in range(len(waiting)))

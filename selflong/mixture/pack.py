"""Samples into sequences of a stage's length: whole ones by best-fit decreasing, or cut, as ProLong packs.

Best fit takes seconds for a million: samples of equal length are placed together, and a two-level bitmap
finds the fullest sequence that still has room, so the work grows with the number of samples and hardly with
the length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from selflong.job import UserError
from selflong.recipe.mixture import Packing


@dataclass(frozen=True)
class Pieces:
    """Parts of samples in sequences, in the order of the sequences and of their places; int64 [pieces]."""

    sample: np.ndarray
    """Number of the sample."""
    start: np.ndarray
    stop: np.ndarray
    """Tokens of the sample, from `start` on."""
    sequence: np.ndarray

    @property
    def tokens(self) -> np.ndarray:
        return self.stop - self.start

    @property
    def sequences(self) -> int:
        return int(self.sequence[-1]) + 1 if len(self.sequence) else 0


def joined(parts: Sequence[Pieces]) -> Pieces:
    """The sequences of several, one after the other."""
    firsts = np.cumsum([0, *(part.sequences for part in parts)])
    return Pieces(
        np.concatenate([part.sample for part in parts]),
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.stop for part in parts]),
        np.concatenate(
            [part.sequence + first for part, first in zip(parts, firsts[:-1], strict=True)]
        ),
    )


def place(packing: Packing, samples: np.ndarray, tokens: np.ndarray, length: int) -> Pieces:
    """The sequences of `length` tokens at most that samples of so many `tokens` make, in their order."""
    if packing == "best_fit":
        sequence = pack(tokens, length)
        order = np.argsort(sequence, kind="stable")
        return Pieces(samples[order], np.zeros_like(tokens), tokens[order], sequence[order])
    if packing == "as_given":
        return Pieces(samples, np.zeros_like(tokens), tokens, np.arange(len(tokens)))
    if packing == "single_document":
        return _single_documents(samples, tokens, length)
    if packing == "concatenated":
        return _concatenated(samples, tokens, length)
    return _concatenated(samples, _cut_at_ends(tokens, length), length)


def _single_documents(samples: np.ndarray, tokens: np.ndarray, length: int) -> Pieces:
    """As many whole sequences as each sample fills."""
    count = tokens // length
    first = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    start = first * length
    return Pieces(np.repeat(samples, count), start, start + length, np.arange(len(start)))


def _concatenated(samples: np.ndarray, tokens: np.ndarray, length: int) -> Pieces:
    """One sample after the other, cut where a sequence is full."""
    ends = np.cumsum(tokens)
    begins = ends - tokens
    first = begins // length
    count = np.maximum(0, (ends - 1) // length - first + 1) * (tokens > 0)
    sequence = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count - first, count)
    origin = np.repeat(begins, count)
    start = np.maximum(sequence * length, origin) - origin
    stop = np.minimum((sequence + 1) * length, np.repeat(ends, count)) - origin
    return Pieces(np.repeat(samples, count), start, stop, sequence)


def _cut_at_ends(tokens: np.ndarray, length: int) -> np.ndarray:
    """int64 [samples]: what is left of each where one that a sequence cuts does not go on."""
    room, kept = length, np.empty_like(tokens)
    for number, size in enumerate(tokens.tolist()):
        kept[number] = min(size, room)
        room = room - kept[number] or length
    return kept


class _Capacities:
    """A set of numbers from 0 to `maximum` that finds the least one not below a given one."""

    def __init__(self, maximum: int) -> None:
        self._shift = max(1, ((maximum + 1).bit_length() + 1) // 2)
        self._mask = (1 << self._shift) - 1
        self._words = [0] * ((maximum >> self._shift) + 1)
        self._summary = 0

    def add(self, number: int) -> None:
        word = number >> self._shift
        self._words[word] |= 1 << (number & self._mask)
        self._summary |= 1 << word

    def remove(self, number: int) -> None:
        word = number >> self._shift
        self._words[word] &= ~(1 << (number & self._mask))
        if not self._words[word]:
            self._summary &= ~(1 << word)

    def least_from(self, number: int) -> int | None:
        word, bit = number >> self._shift, number & self._mask
        rest = self._words[word] >> bit
        if rest:
            return number + (rest & -rest).bit_length() - 1
        later = self._summary >> (word + 1)
        if not later:
            return None
        word += (later & -later).bit_length()
        bits = self._words[word]
        return (word << self._shift) + (bits & -bits).bit_length() - 1


class _Sequences:
    """Open sequences by the room that they have left."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._rooms = _Capacities(length)
        self._by_room: dict[int, list[int]] = {}
        self.count = 0

    def take(self, needed: int) -> tuple[int, int]:
        """The fullest sequence with room for `needed`, and its room; a new one where none has."""
        room = self._rooms.least_from(needed)
        if room is None:
            self.count += 1
            return self.count - 1, self._length
        waiting = self._by_room[room]
        sequence = waiting.pop()
        if not waiting:
            del self._by_room[room]
            self._rooms.remove(room)
        return sequence, room

    def put_back(self, sequence: int, room: int) -> None:
        if room == 0:
            return
        if room not in self._by_room:
            self._by_room[room] = []
            self._rooms.add(room)
        self._by_room[room].append(sequence)


def pack(tokens: np.ndarray, length: int) -> np.ndarray:
    """int64 [samples]: the sequence that each sample goes to, by best-fit decreasing.

    `tokens` (integers [samples]) are the samples' lengths, each from 1 to `length`; none is cut. Equal
    lengths are placed in their order, so the result is the same for the same lengths.

    Raises UserError where a sample is longer than a sequence, or empty.
    """
    if len(tokens) and (tokens.max() > length or tokens.min() < 1):
        raise UserError(
            f"samples of {tokens.min()} to {tokens.max()} tokens cannot be packed whole into sequences of "
            f"{length}: leave those out that do not fit"
        )
    order = np.argsort(-tokens.astype(np.int64), kind="stable")
    sequences = _Sequences(length)
    placed: list[int] = []
    for size, count in _runs(tokens[order]):
        waiting = count
        while waiting > 0:
            sequence, room = sequences.take(size)
            # The room that is left after one sample is again the least that holds the next of this size.
            here = min(waiting, room // size)
            placed.extend([sequence] * here)
            sequences.put_back(sequence, room - here * size)
            waiting -= here
    result = np.empty(len(tokens), dtype=np.int64)
    result[order] = placed
    return result


def _runs(ordered: np.ndarray) -> Iterator[tuple[int, int]]:
    """Each length with the number of samples that have it."""
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    counts = np.diff(np.append(starts, len(ordered)))
    yield from zip(ordered[starts].tolist(), counts.tolist(), strict=True)

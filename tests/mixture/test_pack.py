"""Best-fit decreasing against its definition, its bound and the bars on fill and speed; what cuts samples."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.packing import fewest_sequences, lengths_of_the_paper
from selflong.job import UserError
from selflong.mixture.pack import Pieces, joined, pack, place


def _best_fit_decreasing(tokens: list[int], length: int) -> list[int]:
    rooms: list[int] = []
    for size in sorted(tokens, reverse=True):
        fitting = [room for room in rooms if room >= size]
        if fitting:
            rooms[rooms.index(min(fitting))] -= size
        else:
            rooms.append(length - size)
    return sorted(rooms)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_is_best_fit_decreasing(data: st.DataObject) -> None:
    length = data.draw(st.integers(1, 300))
    tokens = data.draw(st.lists(st.integers(1, length), min_size=1, max_size=80))
    sequence = pack(np.array(tokens), length)
    rooms = length - np.bincount(sequence, weights=tokens).astype(int)
    assert sorted(rooms.tolist()) == _best_fit_decreasing(tokens, length)
    assert fewest_sequences(np.array(tokens), length) <= len(rooms)


def _fewest(tokens: list[int], length: int) -> int:
    """The true optimum, by trying every placement."""
    best = len(tokens)

    def place(position: int, rooms: list[int]) -> None:
        nonlocal best
        if len(rooms) >= best:
            return
        if position == len(tokens):
            best = len(rooms)
            return
        size = tokens[position]
        for number in range(len(rooms)):
            if rooms[number] >= size:
                place(position + 1, [*rooms[:number], rooms[number] - size, *rooms[number + 1 :]])
        place(position + 1, [*rooms, length - size])

    place(0, [])
    return best


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=7))
def test_bound_never_exceeds_the_optimum(tokens: list[int]) -> None:
    assert fewest_sequences(np.array(tokens), 20) <= _fewest(sorted(tokens, reverse=True), 20)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(UserError, match="cannot be packed whole"):
        pack(np.array([5, 11]), 10)
    with pytest.raises(UserError, match="cannot be packed whole"):
        pack(np.array([5, 0]), 10)
    assert pack(np.array([], dtype=np.int64), 10).tolist() == []


@pytest.mark.parametrize("length", [262_144, 1_048_576])
def test_a_million_samples(length: int) -> None:
    tokens = lengths_of_the_paper(1_000_000, length, seed=3)
    start = time.process_time()
    sequence = pack(tokens, length)
    assert time.process_time() - start < 10
    filled = np.bincount(sequence, weights=tokens)
    assert filled.max() <= length
    assert fewest_sequences(tokens, length) / len(filled) >= 0.995


def _tokens_of(pieces: Pieces, sequence: int) -> list[tuple[int, int]]:
    """(sample, its token) of every token of a sequence."""
    own = np.flatnonzero(pieces.sequence == sequence)
    return [
        (int(pieces.sample[piece]), token)
        for piece in own
        for token in range(int(pieces.start[piece]), int(pieces.stop[piece]))
    ]


SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=30)


@given(SIZES, st.integers(1, 20))
def test_what_is_concatenated_is_cut_where_a_sequence_is_full_and_goes_on_in_the_next(
    sizes: list[int], length: int
) -> None:
    samples = np.arange(len(sizes)) + 100
    pieces = place("concatenated", samples, np.array(sizes), length)
    stream = [(number + 100, token) for number, size in enumerate(sizes) for token in range(size)]
    found = [_tokens_of(pieces, sequence) for sequence in range(pieces.sequences)]
    assert found == [stream[i : i + length] for i in range(0, len(stream), length)]


@given(SIZES, st.integers(1, 20))
def test_the_rest_of_a_cut_one_is_dropped_where_it_opens_no_sequence(
    sizes: list[int], length: int
) -> None:
    pieces = place("concatenated_dropping", np.arange(len(sizes)), np.array(sizes), length)
    assert (pieces.start == 0).all()
    assert pieces.sample.tolist() == list(range(len(sizes)))
    filled = np.bincount(pieces.sequence, weights=pieces.tokens)
    assert (filled[:-1] == length).all() and filled[-1] <= length
    cut = pieces.tokens < np.array(sizes)
    ends_sequence = np.append(np.diff(pieces.sequence) > 0, filled[-1] == length)
    assert ends_sequence[cut].all()


@given(SIZES, st.integers(1, 20))
def test_a_sequence_of_a_single_document_is_full_of_it(sizes: list[int], length: int) -> None:
    pieces = place("single_document", np.arange(len(sizes)), np.array(sizes), length)
    assert (pieces.tokens == length).all()
    assert (np.diff(pieces.sequence) == 1).all()
    counts = np.bincount(pieces.sample, minlength=len(sizes))
    assert counts.tolist() == [size // length for size in sizes]
    assert (pieces.start % length == 0).all()


def test_sequences_of_several_follow_each_other() -> None:
    tokens = np.array([4, 6, 3])
    parts = [
        place("best_fit", np.arange(3), tokens, 10),
        place("as_given", np.arange(3), tokens, 10),
    ]
    both = joined(parts)
    assert both.sequences == 5
    assert both.sample.tolist() == [0, 1, 2, 0, 1, 2]
    assert both.sequence.tolist() == [0, 0, 1, 2, 3, 4]

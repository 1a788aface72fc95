"""Best-fit decreasing against its definition, its bound, and the bars on fill and speed."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.packing import lengths_of_the_paper
from selflong.job import UserError
from selflong.mixture.pack import fewest_sequences, pack


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

"""Order by seed alone, every token once over the ranks, balanced."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.placement.layout import balanced_slots
from selflong.placement.ring import split
from selflong.training.batches import MicroBatch, PackedData
from selflong.training.layout import Layout, local_tokens
from selflong.training.loss import IGNORE
from tests.training.jobs import write_packed

LAYOUTS = (
    Layout(),
    Layout(2),
    Layout(1, 2),
    Layout(2, 2),
    Layout(4),
    Layout(1, 1, 2),
    Layout(2, 1, 2),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PackedData:
    return PackedData(write_packed(tmp_path_factory.mktemp("packed") / "p", 64, 23))


def test_each_sequence_once_before_any_twice(data: PackedData) -> None:
    seen = [s for step in range(23) for s in data.global_batch(step, 4, seed=5)]
    for epoch in range(4):
        assert sorted(seen[epoch * 23 : (epoch + 1) * 23]) == list(range(23))
    assert seen[:23] != seen[23:46]
    assert seen[:4] != data.global_batch(0, 4, seed=6)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20), st.sampled_from(LAYOUTS))
@settings(max_examples=100, deadline=None)
def test_ranks_share_every_token_once(lengths: list[int], layout: Layout) -> None:
    bounds = np.cumsum([0, *lengths])
    shared = split(bounds, layout.ring)
    held = [local_tokens(shared, layout, layout.place(rank)) for rank in range(layout.sequence)]
    assert len({len(tokens) for tokens in held}) == 1
    tokens = np.concatenate(held)
    assert sorted(tokens[tokens < bounds[-1]]) == list(range(bounds[-1]))
    # What a ring index holds more than another is at most a document that stays whole, and a token of each
    # part.
    whole = max(2 * layout.ring, bounds[-1] // (8 * layout.ring))
    uneven = 0 if layout.ring == 1 else whole + 2 * len(lengths)
    assert len(tokens) <= bounds[-1] + layout.ring * (uneven + layout.ulysses)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_slices_make_up_the_global_batch(data: PackedData, layout: Layout) -> None:
    batch = data.global_batch(2, 5, seed=1)
    per_rank = [
        list(data.micro_batches(batch, layout, layout.place(rank), mask_prompt=False))
        for rank in range(layout.world)
    ]
    assert len({len(parts) for parts in per_rank}) == 1
    whole = [data.micro_batch(s, Layout(), Layout().place(0), False) for s in batch]
    assert sum(part.targets for parts in per_rank for part in parts) == sum(
        part.targets for part in whole
    )
    trained: dict[int, list[MicroBatch]] = {}
    for parts in per_rank:
        for part in parts:
            if part.sequence is not None:
                trained.setdefault(part.sequence, []).append(part)
    assert sorted(trained) == sorted(batch)
    for expected in whole:
        assert expected.sequence is not None
        parts = trained[expected.sequence]
        shared = split(data.bounds[expected.sequence], layout.ring)
        places = np.concatenate(
            [
                local_tokens(shared, layout, layout.place(rank))[: len(part.input_ids)]
                for rank, part in enumerate(parts)
            ]
        )
        count = len(expected.input_ids)
        for field in ("input_ids", "labels", "positions"):
            held = torch.cat([getattr(part, field) for part in parts])
            joined = torch.empty(count, dtype=torch.int64)
            joined[places[places < count]] = held[places < count]
            assert torch.equal(joined, getattr(expected, field)), field
            if field == "labels":
                assert (held[places >= count] == IGNORE).all()
        for part in parts:
            assert part.bounds[-1] == count


def test_labels_stay_inside_their_document(data: PackedData) -> None:
    for sequence in range(len(data)):
        batch = data.micro_batch(sequence, Layout(), Layout().place(0), False)
        bounds = data.bounds[sequence]
        assert (batch.labels[np.array(bounds[1:]) - 1] == IGNORE).all()
        assert (batch.positions[np.array(bounds[:-1])] == 0).all()
        counted = (batch.labels[:-1] != IGNORE).nonzero().squeeze(1)
        assert torch.equal(batch.labels[counted], batch.input_ids[counted + 1])


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40), st.integers(1, 8))
def test_slots_hold_each_sequence_once_and_neighbours_in_cost(costs: list[int], data: int) -> None:
    slots = balanced_slots(costs, data)
    assert all(len(row) == data for row in slots)
    placed = [s for row in slots for s in row if s is not None]
    assert sorted(placed) == list(range(len(costs)))
    groups = [[costs[s] for s in row if s is not None] for row in slots]
    for cheaper, dearer in zip(groups[1:], groups, strict=False):
        assert max(cheaper) <= min(dearer)


def test_an_idle_rank_has_no_target(data: PackedData) -> None:
    layout = Layout(ring=2, data=2)
    place = layout.place(3)
    parts = [
        next(iter(data.micro_batches([4], layout, layout.place(rank), False))) for rank in range(4)
    ]
    idle = [part for part in parts if part.sequence is None]
    assert len(idle) == 2 and all(part.targets == 0 for part in idle)
    assert layout.rank(place) == 3

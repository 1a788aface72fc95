"""How evenly ranks share a step: the work of each is that of its pieces, the paper's stages lose little."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.estimate.balance import lock_step, packed_documents, turn_work, useful_share
from selflong.estimate.training import stage_share
from selflong.placement.fit import choose
from selflong.placement.machines import H100
from selflong.placement.ring import split
from selflong.run.shapes import model_shape
from selflong.training.attention import ring_pieces
from tests.paper import PAPER, SITE


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.sampled_from([2, 3, 4]))
@settings(max_examples=60, deadline=None)
def test_the_work_of_a_rank_is_that_of_its_pieces(documents: list[int], ring: int) -> None:
    shared = split([0, *itertools.accumulate(documents)], ring)
    for index, source in itertools.product(range(ring), repeat=2):
        work = 0
        for piece in ring_pieces(shared, len(shared.held(index)), index, source):
            for queries, keys in piece.block.documents():
                pairs = (queries.stop - queries.start) * (keys.stop - keys.start)
                work += pairs if piece.diagonal else 2 * pairs
        assert work == turn_work(shared, index, source)


def test_ranks_wait_for_the_slowest() -> None:
    whole = np.array([64])
    assert lock_step(whole, 1) == 64**2
    # One document over a zigzag ring: the same work for all.
    assert 2 * lock_step(whole, 2) == 64**2
    assert useful_share([whole, whole], 2, ring=1, data=2) == 1.0
    halves = np.array([32, 32])
    assert useful_share([whole, halves], 2, ring=1, data=2) == pytest.approx(0.75)
    assert useful_share([whole], 1, ring=1, data=2) == 0.5


def test_sequences_are_packed_from_the_recipes_lengths() -> None:
    drawn = packed_documents(PAPER, "full", "256k", 64)
    assert len(drawn) == 64
    tokens = [int(documents.sum()) for documents in drawn]
    assert max(tokens) <= 2**18 and np.mean(tokens) > 0.95 * 2**18


@pytest.mark.parametrize("model", ["selflong_8b", "selflong_3b", "selflong_1b"])
def test_ranks_of_the_papers_stages_finish_together(model: str) -> None:
    shape = model_shape(PAPER, SITE, model)
    for stage in PAPER.models[model].stages:
        layout = choose(shape, stage.length, stage.sequences_per_step, H100).layout
        assert stage_share(PAPER, stage, shape, layout, H100) >= 0.95
    # A site that asks for rings alone has them planned.
    ring = replace(layout, ulysses=1)
    assert 0.95 < stage_share(PAPER, stage, shape, ring, H100) < 1


@pytest.mark.parametrize("ring", [2, 4, 16])
@pytest.mark.parametrize("stage", ["256k", "1m"])
def test_a_ring_shares_packed_documents_as_evenly_as_one(stage: str, ring: int) -> None:
    drawn = packed_documents(PAPER, "full", stage, 16)
    assert useful_share(drawn, 1, ring, data=1) >= 0.98

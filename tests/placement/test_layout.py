"""Layouts that are tried."""

import pytest

from selflong.placement.layout import even_sequence, layouts, shared_heads


def test_no_layout_leaves_a_rank_without_a_sequence() -> None:
    tried = list(layouts(16, sequences=4))
    assert [layout.sequence for layout in tried] == [4, 8, 16, 16, 16, 16, 16]
    assert [layout.offload_activations for layout in tried] == [
        False,
        False,
        False,
        True,
        True,
        True,
        True,
    ]
    assert [layout.keep_attention for layout in tried] == [True] * 6 + [False]
    assert [layout.mlp_tiles > 1 for layout in tried] == [False] * 5 + [True] * 2
    assert [layout.sequence for layout in layouts(16, sequences=16, offload=False)] == [
        1, 2, 4, 8, 16, 16, 16,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sequence", "per_node", "ulysses"), [(8, 8, 8), (16, 8, 8), (4, 8, 4), (6, 6, 2), (1, 8, 1)]
)
def test_heads_are_shared_as_far_as_a_node_and_its_key_value_heads_go(
    sequence: int, per_node: int, ulysses: int
) -> None:
    assert shared_heads(sequence, 32, 8, per_node) == ulysses
    assert shared_heads(sequence, 9, 3, per_node) == (3 if sequence == 6 else 1)


@pytest.mark.parametrize(
    ("length", "ranks"), [(4096, 1), (2**14, 2), (2**16, 8), (2**20, 8), (10_000, 1)]
)
def test_long_sequences_are_shared_by_heads_within_a_node(length: int, ranks: int) -> None:
    assert even_sequence(length, 32, 8, 8) == ranks
    assert even_sequence(length, 9, 3, 8) == 1
    assert [layout.sequence for layout in layouts(16, 4, offload=False, least=8)] == [8, 16, 16, 16]

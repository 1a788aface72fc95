"""Layouts that are tried."""

from selflong.placement.layout import layouts


def test_no_layout_leaves_a_rank_without_a_sequence() -> None:
    tried = list(layouts(16, sequences=4))
    assert [layout.sequence for layout in tried] == [4, 8, 16, 16, 16]
    assert [layout.offload_activations for layout in tried] == [False, False, False, True, True]
    assert [layout.sequence for layout in layouts(16, sequences=16, offload=False)] == [
        1, 2, 4, 8, 16,
    ]  # fmt: skip

"""Near-duplicate instructions over all shards."""

from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.synthesis.instructions import are_new

WORDS = [
    "rivers",
    "trade",
    "war",
    "peace",
    "treaty",
    "harbour",
    "railway",
    "empire",
    "law",
    "canal",
]
instructions = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=4, max_size=12).map(
        lambda words: f"How did {' '.join(words)} change over time?"
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=50)
@given(st.lists(instructions, max_size=4), st.floats(0.5, 1))
def test_each_shard_drops_what_one_shard_of_all_would_drop(
    shards: list[list[str]], threshold: float
) -> None:
    everything = [text for shard in shards for text in shard]
    by_shard: list[bool] = []
    for number, shard in enumerate(shards):
        earlier = [text for before in shards[:number] for text in before]
        by_shard += are_new(shard, earlier, threshold)
    assert by_shard == are_new(everything, [], threshold)


def test_a_reworded_instruction_of_another_shard_is_dropped() -> None:
    first = "How did freight traffic on the Rhine develop over time, and which events changed it?"
    again = "How did freight traffic on the Rhine develop over time, and what events changed it?"
    other = "Where does the Danube rise, and which countries does it flow through?"
    assert are_new([again, other], [first], 0.5) == [False, True]
    assert are_new([again, other], [], 0.5) == [True, True]

"""Prompts of the needle grid and of output lengths, and how their answers are scored."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.evaluation import needle_grid, output_length
from selflong.evaluation.generate import Prompt, check_bos
from selflong.evaluation.ruler import Sources
from selflong.job import UserError
from selflong.recipe import NeedleGrid, OutputLength
from selflong.tokens import Tokenizer


def grid(**changes: object) -> NeedleGrid:
    settings_ = {"models": ["m"], "lengths": [600, 2000], "depths": 5, "repeats": 2, "seed": 7}
    return NeedleGrid(kind="needle_grid", **{**settings_, **changes})  # type: ignore[arg-type]


def test_the_default_of_the_field_has_35_depths() -> None:
    found = needle_grid.depths(grid(depths=35))
    assert len(found) == 35
    assert (found[0], found[-1]) == (0.0, 1.0)


def test_needles_stand_at_their_depth_after_a_sentence(
    smollm2_tokenizer: Tokenizer, sources: Sources
) -> None:
    suite = grid()
    prompts = list(needle_grid.prompts(suite, smollm2_tokenizer, sources.essays, suite.lengths))
    assert len(prompts) == 2 * 5 * 2
    for prompt in prompts:
        size = len(prompt.ids) + needle_grid.ANSWER_TOKENS
        assert size <= prompt.length
        assert prompt.text.count(needle_grid.NEEDLE) == 1
        haystack = prompt.text.partition("short and direct.\n\n")[2].partition("\n\nQuestion:")[0]
        before, _, after = haystack.partition(needle_grid.NEEDLE)
        share = len(before) / (len(before) + len(after))
        # After the sentence that ends before the place: never later, earlier by one sentence at most.
        longest = max(map(len, needle_grid.sentences(sources.essays)))
        assert prompt.depth - longest / len(haystack) - 0.03 <= share <= prompt.depth + 0.03
        assert not before.strip() or before.rstrip()[-1] in ".!?"


def test_prompts_of_a_haystack_come_in_the_order_that_shares_most(
    smollm2_tokenizer: Tokenizer, sources: Sources
) -> None:
    suite = grid(lengths=[600], repeats=2)
    asked = list(needle_grid.prompts(suite, smollm2_tokenizer, sources.essays, suite.lengths))
    depths = needle_grid.depths(suite)
    assert [prompt.depth for prompt in asked] == 2 * depths[::-1]
    assert sorted(prompt.index for prompt in asked) == list(range(2 * suite.depths))
    for deeper, prompt in itertools.pairwise(asked[: suite.depths]):
        shared = sum(
            1 for _ in itertools.takewhile(same, zip(deeper.ids, prompt.ids, strict=False))
        )
        before = prompt.text.partition(needle_grid.NEEDLE)[0]
        assert len(smollm2_tokenizer.decode(prompt.ids[:shared])) >= len(before.rstrip())


def same(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]


def test_the_grid_fills_its_lengths(smollm2_tokenizer: Tokenizer, sources: Sources) -> None:
    suite = grid(lengths=[8000], repeats=1)
    sizes = [
        len(prompt.ids) + needle_grid.ANSWER_TOKENS
        for prompt in needle_grid.prompts(suite, smollm2_tokenizer, sources.essays, [8000])
    ]
    assert min(sizes) > 0.97 * 8000


def test_repeats_differ_and_runs_do_not(smollm2_tokenizer: Tokenizer, sources: Sources) -> None:
    suite = grid(lengths=[600])

    def texts() -> list[str]:
        found = needle_grid.prompts(suite, smollm2_tokenizer, sources.essays, [600])
        return [prompt.text for prompt in found]

    assert texts() == texts()
    assert len(set(texts())) == 10


def test_a_length_without_room_is_refused(smollm2_tokenizer: Tokenizer, sources: Sources) -> None:
    with pytest.raises(UserError, match="length 60 is too short"):
        list(needle_grid.prompts(grid(), smollm2_tokenizer, sources.essays, [60]))


@given(st.sets(st.sampled_from(needle_grid.KEYWORDS)))
def test_the_needles_score_is_its_keywords_share(said: set[str]) -> None:
    text = f"One could {' or '.join(sorted(said)).upper()}."
    expected = len(said) / len(needle_grid.KEYWORDS)
    assert needle_grid.score(text, needle_grid.KEYWORDS) == pytest.approx(expected)


def test_the_needle_itself_scores_1_and_parts_of_words_nothing() -> None:
    assert needle_grid.score(needle_grid.NEEDLE, needle_grid.KEYWORDS) == 1
    assert needle_grid.score("Sunday eating situations parks", needle_grid.KEYWORDS) == 0


def writing(**changes: object) -> OutputLength:
    settings_ = {"models": ["m"], "lengths": [100, 400], "prompts": 6, "seed": 1}
    return OutputLength(kind="output_length", **{**settings_, **changes})  # type: ignore[arg-type]


def test_writing_names_its_length_and_leaves_room(smollm2_tokenizer: Tokenizer) -> None:
    found = list(output_length.prompts(writing(), smollm2_tokenizer, 1024, [100, 400]))
    assert len({(prompt.length, prompt.text) for prompt in found}) == 12
    for prompt in found:
        assert f"{prompt.length} words" in prompt.text
        assert prompt.length * 1.3 < prompt.answer_tokens <= 1024 - len(prompt.ids)


def test_too_many_writing_prompts_are_refused(smollm2_tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="ask for fewer"):
        list(output_length.prompts(writing(prompts=9999), smollm2_tokenizer, 1024, [100]))


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(0, 2000))
def test_the_length_score_falls_with_the_distance(asked: int, written: int) -> None:
    def score(words: int) -> float:
        return output_length.score("word " * words, [str(asked)])

    assert score(asked) == 1
    assert 0 <= score(written) <= 1
    further = written + 1 if written >= asked else max(0, written - 1)
    assert score(further) <= score(written)
    assert score(4 * asked) == 0


def prompt_of(*ids: int) -> Prompt:
    return Prompt("t", 100, 0, ids, "", ("x",), 4)


def test_exactly_one_bos_is_wanted() -> None:
    check_bos(prompt_of(1, 5, 1, 6), bos_id=1)  # ChatML's BOS opens every message
    check_bos(prompt_of(5, 6), bos_id=None)
    for ids, count in (((1, 1, 5), 2), ((1, 1, 1, 5), 3), ((5, 1), 0)):
        with pytest.raises(UserError, match=f"begins with {count} BOS"):
            check_bos(prompt_of(*ids), bos_id=1)

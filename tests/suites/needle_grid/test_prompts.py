"""Prompts of the needle grid, and how their answers are scored."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selflong.job import UserError
from selflong.suites.needle_grid.metric import score
from selflong.suites.needle_grid.prompts import KEYWORDS, NEEDLE, cells, sentences
from selflong.suites.needle_grid.section import ANSWER_TOKENS, NeedleGrid, Wording, depths
from selflong.suites.needle_grid.texts import texts
from selflong.suites.ruler.generator import Sources
from selflong.suites.section import HaystackFile
from selflong.tokens import Tokenizer


def grid(**changes: object) -> NeedleGrid:
    settings_ = {"models": ["m"], "lengths": [600, 2000], "depths": 5, "repeats": 2, "seed": 7}
    return NeedleGrid(kind="needle_grid", **{**settings_, **changes})  # type: ignore[arg-type]


def test_the_default_of_the_field_has_35_depths() -> None:
    found = depths(grid(depths=35))
    assert len(found) == 35
    assert (found[0], found[-1]) == (0.0, 1.0)


def test_needles_stand_at_their_depth_after_a_sentence(
    smollm2_tokenizer: Tokenizer, sources: Sources
) -> None:
    suite = grid()
    prompts = list(cells(suite, smollm2_tokenizer, sources.essays, suite.lengths))
    assert len(prompts) == 2 * 5 * 2
    for prompt in prompts:
        size = len(prompt.ids) + ANSWER_TOKENS
        assert size <= prompt.length
        assert prompt.text.count(NEEDLE) == 1
        haystack = prompt.text.partition("short and direct.\n\n")[2].partition("\n\nQuestion:")[0]
        before, _, after = haystack.partition(NEEDLE)
        share = len(before) / (len(before) + len(after))
        # After the sentence that ends before the place: never later, earlier by one sentence at most.
        longest = max(map(len, sentences(sources.essays)))
        assert prompt.depth - longest / len(haystack) - 0.03 <= share <= prompt.depth + 0.03
        assert not before.strip() or before.rstrip()[-1] in ".!?"


def test_prompts_of_a_haystack_come_in_the_order_that_shares_most(
    smollm2_tokenizer: Tokenizer, sources: Sources
) -> None:
    suite = grid(lengths=[600], repeats=2)
    asked = list(cells(suite, smollm2_tokenizer, sources.essays, suite.lengths))
    assert [prompt.depth for prompt in asked] == 2 * depths(suite)[::-1]
    assert sorted(prompt.index for prompt in asked) == list(range(2 * suite.depths))
    for deeper, prompt in itertools.pairwise(asked[: suite.depths]):
        shared = sum(
            1 for _ in itertools.takewhile(same, zip(deeper.ids, prompt.ids, strict=False))
        )
        before = prompt.text.partition(NEEDLE)[0]
        assert len(smollm2_tokenizer.decode(prompt.ids[:shared])) >= len(before.rstrip())


def same(pair: tuple[int, int]) -> bool:
    return pair[0] == pair[1]


def test_the_grid_fills_its_lengths(smollm2_tokenizer: Tokenizer, sources: Sources) -> None:
    suite = grid(lengths=[8000], repeats=1)
    sizes = [
        len(prompt.ids) + ANSWER_TOKENS
        for prompt in cells(suite, smollm2_tokenizer, sources.essays, [8000])
    ]
    assert min(sizes) > 0.97 * 8000


def test_repeats_differ_and_runs_do_not(smollm2_tokenizer: Tokenizer, sources: Sources) -> None:
    suite = grid(lengths=[600])

    def texts() -> list[str]:
        found = cells(suite, smollm2_tokenizer, sources.essays, [600])
        return [prompt.text for prompt in found]

    assert texts() == texts()
    assert len(set(texts())) == 10


def test_a_length_without_room_is_refused(smollm2_tokenizer: Tokenizer, sources: Sources) -> None:
    with pytest.raises(UserError, match="length 60 is too short"):
        list(cells(grid(), smollm2_tokenizer, sources.essays, [60]))


@given(st.sets(st.sampled_from(KEYWORDS)))
def test_the_needles_score_is_its_keywords_share(said: set[str]) -> None:
    text = f"One could {' or '.join(sorted(said)).upper()}."
    expected = len(said) / len(KEYWORDS)
    assert score(text, KEYWORDS) == pytest.approx(expected)


def test_the_needle_itself_scores_1_and_parts_of_words_nothing() -> None:
    assert score(NEEDLE, KEYWORDS) == 1
    assert score("Sunday eating situations parks", KEYWORDS) == 0


# ------------------------------------------------------------------------------- another language

CHINESE = Wording(
    needle="在旧金山最好的事是坐在多洛雷斯公园里吃三明治。",
    question="在旧金山最好的事是什么？",
    keywords=["多洛雷斯公园", "三明治"],
    prompt="请只根据下文简短回答问题。\n\n{haystack}\n\n问题：{question}",
)
HINDI = Wording(
    needle="पहाड़ी गाँव में सबसे अच्छी चीज़ चाय पीना है।",
    question="पहाड़ी गाँव में सबसे अच्छी चीज़ क्या है?",
    keywords=["चाय", "पीना"],
    prompt="{haystack}\n\n{question}",
)


@pytest.mark.parametrize(
    ("wording", "sentence"),
    [(CHINESE, "第{n}天下雨，河水上涨了。"), (HINDI, "दिन {n} को बारिश हुई।")],
)
def test_a_grid_speaks_another_language(
    smollm2_tokenizer: Tokenizer, tmp_path: Path, wording: Wording, sentence: str
) -> None:
    between = "" if wording is CHINESE else " "
    written = [sentence.format(n=number) for number in range(40)]
    (tmp_path / "one.txt").write_text(between.join(written[:20]), encoding="utf-8")
    (tmp_path / "two.txt").write_text(between.join(written[20:]), encoding="utf-8")
    suite = grid(lengths=[700], repeats=1, wording=wording, files=HaystackFile(haystack=tmp_path))
    assert sentences(tmp_path) == tuple(written)
    for prompt in cells(suite, smollm2_tokenizer, tmp_path, [700]):
        assert len(prompt.ids) + ANSWER_TOKENS <= 700
        assert isinstance(prompt.message, str)
        assert prompt.message.endswith(wording.question)
        haystack = prompt.message.removeprefix(wording.prompt.partition("{haystack}")[0])
        haystack = haystack.partition("\n\n")[0]
        # Whole sentences in their order, round the end, with a space between where the writing has one.
        pieces = [text for text in (*written, wording.needle) if text in haystack]
        assert len(haystack) == sum(map(len, pieces)) + len(between) * (len(pieces) - 1)
        assert prompt.answers == tuple(wording.keywords)
    found = dict(texts(suite, None))
    assert found["needle"] == wording.needle and found["question"] == wording.question
    assert all(each in found["essays"] for each in written)


def test_keywords_are_whole_words_where_a_script_has_words() -> None:
    assert score("吃三明治，在多洛雷斯公园。", CHINESE.keywords) == 1
    assert score("吃三明治", CHINESE.keywords) == 0.5
    assert score("चाय पीना", HINDI.keywords) == 1
    # A vowel's mark makes another word.
    assert score("चायी पीना", HINDI.keywords) == 0.5
    assert score("In der Strasse", ["Straße"]) == 1
    assert score("Überall", ["über"]) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [({"prompt": "{question} {haystack}"}, "behind it"), ({"keywords": ["tea"]}, "'tea'")],
)
def test_a_wording_that_cannot_be_asked_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Wording.model_validate({**HINDI.model_dump(), **change})

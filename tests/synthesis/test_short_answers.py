"""Answers are compared as QA's scores compare them."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.synthesis.short_answers import (
    NO_FACT,
    NOT_IN_PIECE,
    f1,
    find_fact,
    gives,
    name_words,
    says,
)

words = st.lists(st.from_regex(r"[a-z]{1,4}|[0-9]{1,4}", fullmatch=True), min_size=1, max_size=6)


@pytest.mark.parametrize(
    "reply, answer, given",
    [
        ("Ada Lind", "ada lind", True),
        ("The answer is Ada Lind.", "Ada Lind", True),
        ("Lind", "Ada Lind", True),
        ("Ada Brekke", "Ada Lind", False),
        ("1,963", "1963", True),
        ("19631", "1963", False),
        ("the Netherlands", "Netherlands", True),
        ("NOT TOLD", "Tarn", False),
        ("", "Tarn", False),
    ],
)
def test_an_answer_is_given_in_other_words_around_it(reply: str, answer: str, given: bool) -> None:
    assert gives(reply, answer) is given


@settings(max_examples=40)
@given(words, words, words)
def test_what_stands_in_a_reply_is_given(
    before: list[str], answer: list[str], after: list[str]
) -> None:
    kept = [word for word in answer if word not in ("a", "an", "the")]
    said = " ".join([*before, *answer, *after])
    if kept:
        assert gives(said.upper(), " ".join(answer))
        assert gives(f"The {said}!", f"{' '.join(answer)}.")


@settings(max_examples=40)
@given(words, words)
def test_f1_is_a_share_and_the_same_both_ways(one: list[str], other: list[str]) -> None:
    assert f1(one, one) == 1
    assert f1(one, other) == f1(other, one)
    assert 0 <= f1(one, other) <= 1
    assert (f1(one, other) == 0) == (not set(one) & set(other))


@settings(max_examples=40)
@given(words, words)
def test_a_name_is_said_as_whole_words(text: list[str], name: list[str]) -> None:
    joined = " ".join(text)
    padded, wanted = f" {joined} ", f" {' '.join(name)} "
    assert says(joined, " ".join(name)) == (wanted in padded)
    assert says(f"({joined}), {' '.join(name)}.", " ".join(name))


@pytest.mark.parametrize(
    "written, found",
    [
        ("Ada Lind.", ("Ada Lind", "")),
        ('"Ada Lind"\nShe built it.', ("Ada Lind", "")),
        ("**1901**", ("1901", "")),
        ("ada lind", ("Ada Lind", "")),
        ("Ada Li", (None, NOT_IN_PIECE)),
        ("It was Ada Lind who built it", (None, NO_FACT)),
        ("the", (None, NO_FACT)),
        ("...", (None, NO_FACT)),
    ],
)
def test_a_fact_is_short_and_stands_in_its_piece(
    written: str, found: tuple[str | None, str]
) -> None:
    assert find_fact(written, "In 1901 it was Ada Lind who built the bridge.") == found


@settings(max_examples=40)
@given(st.text(max_size=30), st.text(max_size=60))
def test_a_fact_is_a_part_of_its_piece(written: str, piece: str) -> None:
    fact, reason = find_fact(written, piece)
    assert (fact is None) == bool(reason)
    if fact is not None:
        assert fact in piece and re.search(r"\w", fact)


def test_a_name_is_known_by_its_own_words() -> None:
    assert name_words("Bank of the West") == {"bank", "west"}
    assert name_words("The Who") == {"the", "who"}

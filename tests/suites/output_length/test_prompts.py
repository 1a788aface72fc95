"""Prompts of output lengths, and how their answers are scored."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.job import UserError
from selflong.suites.output_length.metric import score
from selflong.suites.output_length.prompts import requests
from selflong.suites.output_length.section import OutputLength
from selflong.tokens import Tokenizer


def writing(**changes: object) -> OutputLength:
    settings_ = {"models": ["m"], "lengths": [100, 400], "prompts": 6, "seed": 1}
    return OutputLength(kind="output_length", **{**settings_, **changes})  # type: ignore[arg-type]


def test_writing_names_its_length_and_leaves_room(smollm2_tokenizer: Tokenizer) -> None:
    found = list(requests(writing(), smollm2_tokenizer, 1024, [100, 400]))
    assert len({(prompt.length, prompt.text) for prompt in found}) == 12
    for prompt in found:
        assert f"{prompt.length} words" in prompt.text
        assert prompt.length * 1.3 < prompt.answer_tokens <= 1024 - len(prompt.ids)


def test_too_many_writing_prompts_are_refused(smollm2_tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="ask for fewer"):
        list(requests(writing(prompts=9999), smollm2_tokenizer, 1024, [100]))


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(0, 2000))
def test_the_length_score_falls_with_the_distance(asked: int, written: int) -> None:
    def of_words(words: int) -> float:
        return score("word " * words, [str(asked)])

    assert of_words(asked) == 1
    assert 0 <= of_words(written) <= 1
    further = written + 1 if written >= asked else max(0, written - 1)
    assert of_words(further) <= of_words(written)
    assert of_words(4 * asked) == 0

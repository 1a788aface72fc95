"""The language says what it should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.recall import (
    SEPARATOR,
    START,
    RecallLanguage,
    answer_positions,
    random_sequences,
)

LANGUAGE = RecallLanguage(keys=8, values=6, needles=4, queries=2, fillers=5)


@given(st.integers(11, 80), st.integers(0, 50))
@settings(max_examples=50, deadline=None)
def test_each_answer_is_said_by_exactly_one_needle(length: int, seed: int) -> None:
    tokens = random_sequences(LANGUAGE, length, 3, np.random.default_rng(seed)).astype(int)
    assert tokens.shape == (3, length)
    assert tokens.max() < LANGUAGE.vocabulary
    answers = answer_positions(LANGUAGE, length)
    for sequence in tokens:
        body = sequence[1 : length - 2 * LANGUAGE.queries - 1]
        needles = body[body >= LANGUAGE.first_needle] - LANGUAGE.first_needle
        assert len(needles) == LANGUAGE.needles
        said = {int(n) // LANGUAGE.values: int(n) % LANGUAGE.values for n in needles}
        assert len(said) == LANGUAGE.needles
        assert sequence[0] == START and sequence[len(body) + 1] == SEPARATOR
        for position in answers:
            key = int(sequence[position - 1]) - 3
            assert said[key] == int(sequence[position]) - LANGUAGE.first_value


def test_needles_lie_everywhere() -> None:
    tokens = random_sequences(LANGUAGE, 30, 2000, np.random.default_rng(0))
    counts = (tokens >= LANGUAGE.first_needle).sum(0)
    body = counts[1 : 30 - 2 * LANGUAGE.queries - 1]
    assert body.min() > 0.7 * body.mean()
    assert counts.sum() == 2000 * LANGUAGE.needles


def test_impossible_languages_are_refused() -> None:
    with pytest.raises(ValueError, match="4 needles need as many keys, not 3"):
        RecallLanguage(keys=3, values=6, needles=4, queries=2, fillers=5)
    with pytest.raises(ValueError, match="not 5 queries"):
        RecallLanguage(keys=8, values=6, needles=4, queries=5, fillers=5)
    with pytest.raises(ValueError, match="length 10 is too short"):
        random_sequences(LANGUAGE, 10, 1, np.random.default_rng(0))

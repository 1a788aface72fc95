"""The language says what it should; its packed sequences hold whole documents."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.formats import SEQUENCES, PackedFiles, TokenRole, read_parquet
from selflong.job import UserError
from selflong.recall.language import (
    SEPARATOR,
    START,
    answer_positions,
    random_sequences,
    write_packed,
)
from selflong.recipe.recall import RecallData, RecallLanguage

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
    with pytest.raises(UserError, match="10 tokens are too few"):
        random_sequences(LANGUAGE, 10, 1, np.random.default_rng(0))


def test_packed_sequences_hold_whole_documents_with_their_answers(tmp_path: Path) -> None:
    data = RecallData(length=20, documents=13, seed=1)
    write_packed(language=LANGUAGE, data=data, packed_tokens=70, output=tmp_path / "packed")
    write_packed(language=LANGUAGE, data=data, packed_tokens=70, output=tmp_path / "again")
    rows = read_parquet(tmp_path / "packed" / PackedFiles.SEQUENCES, SEQUENCES)
    assert rows["tokens"].to_list() == [60] * 4
    assert rows["document_bounds"][0].to_list() == [0, 20, 40, 60]
    ids = np.load(tmp_path / "packed" / PackedFiles.INPUT_IDS)
    roles = np.load(tmp_path / "packed" / PackedFiles.ROLES)
    assert len(ids) == len(roles) == 240
    answers = ids[roles == TokenRole.RESPONSE]
    assert len(answers) == 12 * LANGUAGE.queries
    assert (answers >= LANGUAGE.first_value).all() and (answers < LANGUAGE.first_filler).all()
    for name in (PackedFiles.INPUT_IDS, PackedFiles.ROLES):
        assert (tmp_path / "packed" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()

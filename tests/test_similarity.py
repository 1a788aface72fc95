"""Near-duplicates and overlaps against direct definitions, and the planted pairs of the benchmark."""

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.duplicates import NGRAM, PERMUTATIONS, THRESHOLD, planted, quality
from selflong.similarity import (
    OverlapIndex,
    bands,
    exact_key,
    find_duplicates,
    jaccard,
    near_duplicates,
    ngram_hashes,
    normalise,
    signatures,
)

TEXT = st.text(
    st.sampled_from("ab _1.,!?\n\té東京ぁ") | st.characters(exclude_categories=("Cs",)), max_size=60
)
TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
    r"|[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+|[^\w\s]"
)


def _grams(text: str, ngram: int) -> list[tuple[str, ...]]:
    words = TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())
    length = min(ngram, len(words))
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)] if words else []


@settings(max_examples=300, deadline=None)
@given(first=TEXT, second=TEXT, ngram=st.integers(1, 6))
def test_ngrams_are_those_of_words_and_symbols(first: str, second: str, ngram: int) -> None:
    one, other = _grams(first, ngram), _grams(second, ngram)
    assert len(ngram_hashes(first, ngram)) == len(one)
    together = ngram_hashes(first, ngram).tolist() + ngram_hashes(second, ngram).tolist()
    assert len(set(together)) == len(set(one + other))
    if one and other:
        expected = len(set(one) & set(other)) / len(set(one) | set(other))
        assert jaccard(first, second, ngram) == expected


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXT, max_size=12))
def test_a_signature_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    together = signatures(texts, 3, 32)
    assert together.shape == (len(texts), 32)
    for text, signature in zip(texts, together, strict=True):
        assert np.array_equal(signatures([text], 3, 32)[0], signature)


def test_words_are_the_same_in_a_long_text() -> None:
    phrase = " the quick brown fox jumps over the lazy dog 東京 and so on, day after day;"
    assert jaccard(phrase, phrase * 6000, 3) > 0.85  # all but the joints between the repeats


def test_normalisation_keeps_symbols() -> None:
    assert normalise("  Ｗhat\n is 2+2? ") == "what is 2+2?"
    assert exact_key("What is 2+2?") == exact_key("what  is 2+2?")
    assert exact_key("What is 2+2?") != exact_key("What is 2-2?")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("abc ", min_size=8, max_size=14), max_size=25))
def test_what_comes_first_stays(texts: list[str]) -> None:
    duplicate_of = find_duplicates(texts, 1, 0.7)
    for row, earlier in enumerate(duplicate_of.tolist()):
        assert earlier < row
        assert earlier == -1 or duplicate_of[earlier] == -1
    by_words = [" ".join(sorted(set(text.split()))) for text in texts]
    for row, words in enumerate(by_words):
        if words and words in by_words[:row]:
            assert duplicate_of[row] != -1
        if not words:
            assert duplicate_of[row] == -1


def test_planted_near_duplicates() -> None:
    recall, false_drops = quality(*planted(200_000, seed=11))
    assert recall >= 0.98
    assert false_drops < 0.01


def test_estimate_follows_the_similarity() -> None:
    texts, similarity = planted(4000, seed=12)
    sample = np.flatnonzero(similarity > 0)[:500]
    matrix = signatures(texts, NGRAM, PERMUTATIONS)
    duplicate_of = near_duplicates(matrix, 0.3)
    found = sample[duplicate_of[sample] >= 0]
    exact = [jaccard(texts[row], texts[duplicate_of[row]], NGRAM) for row in found]
    assert np.allclose(exact, similarity[found])
    estimate = (matrix[found] == matrix[duplicate_of[found]]).mean(axis=1)
    assert abs((estimate - exact).mean()) < 0.01
    assert np.sqrt(((estimate - exact) ** 2).mean()) < 0.06


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9])
def test_bands_meet_at_the_threshold(threshold: float) -> None:
    count, rows = bands(threshold, PERMUTATIONS)
    assert count * rows <= PERMUTATIONS
    assert 1 - (1 - threshold**rows) ** count >= 0.98
    assert bands(THRESHOLD, PERMUTATIONS) == (18, 7)


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h"]), max_size=40)


@settings(max_examples=200, deadline=None)
@given(indexed=st.lists(WORDS, max_size=5), words=WORDS)
def test_overlaps_are_shared_runs_of_words(indexed: list[list[str]], words: list[str]) -> None:
    ngram = 9
    index = OverlapIndex([" ".join(text) for text in indexed], ngram)
    found = {overlap.index: overlap for overlap in index.overlaps(", ".join(words).upper())}
    for number, text in enumerate(indexed):
        length = ngram if len(text) >= ngram else len(text)
        runs = {tuple(text[i : i + length]) for i in range(len(text) - length + 1)}
        own = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
        shared = [run for run in own if run in runs] if length >= 8 else []
        assert (number in found) == bool(shared)
        if shared:
            assert found[number].shared == len(shared)
            assert found[number].share == len(set(shared)) / len(runs)
            assert found[number].excerpt == " ".join(shared[0])

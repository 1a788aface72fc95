"""What scores an answer to the needle grid."""

import unicodedata
from collections.abc import Iterator, Sequence

from selflong.suites.prompt import Metric

_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""Scripts that put no spaces between words, as the names of their characters begin."""


def metric(task: str) -> Metric:
    """The share of the keywords, for the one task that there is."""
    return score


def score(prediction: str, answers: Sequence[str]) -> float:
    """Share of the keywords `answers` that stand in the prediction, whatever their case.

    As whole words, but where their script puts no spaces between words.
    """
    text = _folded(prediction)
    return sum(_stands_in(_folded(keyword), text) for keyword in answers) / len(answers)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())


def _stands_in(keyword: str, text: str) -> bool:
    return any(
        _ends_word(keyword[0], text[:start]) and _ends_word(keyword[-1], text[end:][::-1])
        for start, end in _places(keyword, text)
    )


def _places(keyword: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(keyword)
    while start >= 0:
        yield start, start + len(keyword)
        start = text.find(keyword, start + 1)


def _ends_word(edge: str, outside: str) -> bool:
    """Whether a word can end with the character `edge`, where `outside` ends with its neighbour."""
    if not outside or unicodedata.name(edge, "").startswith(_UNSPACED):
        return True
    neighbour = outside[-1]
    # Letters, marks (the vowels of many scripts among them) and numbers.
    return neighbour != "_" and unicodedata.category(neighbour)[0] not in "LMN"

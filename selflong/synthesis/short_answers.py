"""Short answers: whether a text says a name, whether a reply gives an answer.

Answers are compared as SQuAD's evaluation script compares them (arXiv 1606.05250): without case, punctuation
and articles, by exact match and by F1 over words.
"""

import re
from collections import Counter

from selflong.similarity import normalise
from selflong.synthesis.quality import WORD
from selflong.synthesis.words import FUNCTION_WORDS

NO_FACT = "answer is no short fact"
NOT_IN_PIECE = "answer not in its piece"
ARTICLES = frozenset({"a", "an", "the"})

_MOST_WORDS = 6
_AGREES = 0.6
"""F1 from which on an answer counts as given: a name without its first name, not one word of two."""
_SIGN = re.compile(r"[^\w\s]|_")
_AROUND = "\"'“”‘’«»*`#.,;: \t"


def find_fact(answer: str, piece: str) -> tuple[str | None, str]:
    """The short answer in what was written as one, as it stands in `piece`, or None and the reason."""
    fact = answer.strip().partition("\n")[0].strip(_AROUND)
    if not 1 <= len(fact.split()) <= _MOST_WORDS or not _words(fact):
        return None, NO_FACT
    found = said(fact, re.IGNORECASE).search(piece)
    return (found[0], "") if found else (None, NOT_IN_PIECE)


def said(name: str, flags: int = 0) -> re.Pattern[str]:
    """Finds a name as whole words, in its own case where no flag says otherwise."""
    return re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", flags)


def says(text: str, name: str) -> bool:
    """Whether a name stands in a text, in its own case and as whole words."""
    return said(name).search(text) is not None


def name_words(name: str) -> set[str]:
    """Lower-case words by which a name is known again."""
    words = {word.lower() for word in WORD.findall(name)}
    return words - FUNCTION_WORDS or words


def gives(reply: str, answer: str) -> bool:
    """Whether a reply gives the answer: its words one after the other, or most words of both."""
    said, wanted = _words(reply), _words(answer)
    ends = range(len(wanted), len(said) + 1)
    if any(said[end - len(wanted) : end] == wanted for end in ends):
        return True
    return f1(said, wanted) >= _AGREES


def f1(said: list[str], wanted: list[str]) -> float:
    """Harmonic mean of the shares of words that two answers have in common; 0 where they have none."""
    common = (Counter(said) & Counter(wanted)).total()
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def _words(answer: str) -> list[str]:
    return [word for word in _SIGN.sub("", normalise(answer)).split() if word not in ARTICLES]

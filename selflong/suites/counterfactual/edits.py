"""Documents in which another answer stands in place of their own."""

import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from selflong.suites.ruler.generator.sources import Question, QuestionSet

_YEAR = re.compile(r"1\d{3}|20\d{2}")
_NAME = re.compile(r"[A-Z]\w+(?: [A-Z]\w+){0,2}")
_SHORT = 3
"""Words of a name so short are no trace of it."""


@dataclass(frozen=True)
class Edit:
    """A question, its document, and the same with another answer in it."""

    question: str
    answer: str
    other: str
    """The answer that was put in."""
    number: int
    """Of the document in the set."""
    document: str
    edited: str


def kind_of_answer(answer: str) -> str | None:
    """Answers of one kind can stand in each other's place: years, and names of as many words."""
    if _YEAR.fullmatch(answer):
        return "year"
    if _NAME.fullmatch(answer):
        return f"name of {answer.count(' ') + 1}"
    return None


def holds(text: str, answer: str) -> bool:
    """Whether a text has an answer as whole words, in any case."""
    return _word(answer).search(text) is not None


def _word(answer: str) -> re.Pattern[str]:
    return re.compile(rf"\b{re.escape(answer)}\b", re.IGNORECASE)


def edits(found: QuestionSet, seed: int) -> list[Edit]:
    """Every question that can be edited so that nothing of its answer is left, in an order by the seed."""
    by_kind: dict[str, list[str]] = defaultdict(list)
    for question in found.questions:
        for answer in set(question.answers):
            if (kind := kind_of_answer(answer)) is not None and answer not in by_kind[kind]:
                by_kind[kind].append(answer)
    order = random.Random(seed)
    made = [edit for q in found.questions for edit in _edit(found, q, by_kind, order)]
    order.shuffle(made)
    return made


def _edit(
    found: QuestionSet, question: Question, by_kind: dict[str, list[str]], order: random.Random
) -> Iterator[Edit]:
    (answer, *others), (number, *_) = sorted(set(question.answers)), question.gold
    kind = kind_of_answer(answer)
    if others or kind is None or holds(question.text, answer):
        return
    document = found.documents[number]
    other = order.choice(by_kind[kind])
    parts = {*answer.lower().split(), *other.lower().split()}
    rest = _word(answer).sub("", document)
    if any(len(part) > _SHORT and holds(f"{question.text} {rest}", part) for part in parts):
        return
    if answer.lower() in other.lower() or other.lower() in answer.lower():
        return
    edited = _word(answer).sub(lambda _: other, document)
    yield Edit(question.text, answer, other, number, document, edited)

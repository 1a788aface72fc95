"""RULER's metrics, as the reference scores: substrings, whatever their case."""

import re
from collections.abc import Sequence

from selflong.job import UserError
from selflong.suites.ruler.section import RULER_TASKS

_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f]")
_ANY_ANSWER = ("qa_1", "qa_2")


def clean_prediction(prediction: str) -> str:
    """A prediction as it is scored: stripped, control characters as line ends."""
    return _CONTROL_CHARACTERS.sub("\n", prediction.strip()).strip()


def string_match_all(prediction: str, answers: Sequence[str]) -> float:
    """Share of the answers that stand in the prediction, from 0 to 1."""
    return sum(_holds(prediction, answer) for answer in answers) / len(answers)


def string_match_part(prediction: str, answers: Sequence[str]) -> float:
    """1 where any of the answers stands in the prediction, else 0."""
    return float(any(_holds(prediction, answer) for answer in answers))


def score(task: str, prediction: str, answers: Sequence[str]) -> float:
    """Score of one raw prediction, from 0 to 1; the reference reports the mean times 100."""
    if task not in RULER_TASKS:
        raise UserError(f"task: {task!r} is no task of RULER; name one of {', '.join(RULER_TASKS)}")
    metric = string_match_part if task in _ANY_ANSWER else string_match_all
    return metric(clean_prediction(prediction), answers)


def _holds(prediction: str, answer: str) -> bool:
    return answer.lower() in prediction.lower()

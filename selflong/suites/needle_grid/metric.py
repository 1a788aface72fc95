"""What scores an answer to the needle grid."""

import re
from collections.abc import Sequence

from selflong.suites.prompt import Metric

_WORD = re.compile(r"\w+")


def metric(task: str) -> Metric:
    """The share of the keywords, for the one task that there is."""
    return score


def score(prediction: str, answers: Sequence[str]) -> float:
    """Share of the keywords `answers` among the words of the prediction, whatever their case."""
    words = set(_WORD.findall(prediction.lower()))
    return sum(keyword in words for keyword in answers) / len(answers)

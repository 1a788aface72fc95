"""What scores an answer to LongBench v2."""

import re
from collections.abc import Sequence

from selflong.suites.prompt import Metric

_CHOICES = (
    re.compile(r"The correct answer is \(([A-D])\)"),
    re.compile(r"The correct answer is ([A-D])"),
)
"""In brackets anywhere, else without them (pred.py of the authors)."""


def metric(task: str) -> Metric:
    """The same for all questions."""
    return score


def score(prediction: str, answers: Sequence[str]) -> float:
    """1 where the prediction names the right choice."""
    return float(choice(prediction) in answers)


def choice(prediction: str) -> str | None:
    """The letter that the prediction names, asterisks aside; None where it names none as it was asked to."""
    text = prediction.replace("*", "")
    found = (pattern.search(text) for pattern in _CHOICES)
    return next((match[1] for match in found if match), None)

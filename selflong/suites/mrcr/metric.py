"""What scores an answer to MRCR."""

from collections.abc import Sequence
from difflib import SequenceMatcher

from selflong.suites.prompt import Metric


def metric(task: str) -> Metric:
    """The same for any number of needles."""
    return score


def score(prediction: str, answers: Sequence[str]) -> float:
    """How alike the prediction is to the answer; 0 unless it begins with the marker that was asked for.

    `answers` are the answer, which begins with the marker too, and the marker; it does not count towards the
    ratio, difflib's SequenceMatcher from the prediction to the answer (the dataset card's grade).
    """
    answer, marker = answers
    if not prediction.startswith(marker):
        return 0.0
    pair = prediction.removeprefix(marker), answer.removeprefix(marker)
    return SequenceMatcher(None, *pair).ratio()

"""What scores recall."""

from collections.abc import Sequence

from selflong.suites.prompt import Metric


def metric(task: str) -> Metric:
    """The share in place, for the one task that there is."""
    return share_in_place


def share_in_place(prediction: str, answers: Sequence[str]) -> float:
    """Share of the answers that stand as the prediction's word of the same place."""
    words = prediction.split()
    return sum(word == answer for word, answer in zip(words, answers, strict=False)) / len(answers)

"""What scores an answer to the counterfactual probe."""

from collections.abc import Sequence

from selflong.suites.counterfactual.edits import holds
from selflong.suites.prompt import Metric


def metric(task: str) -> Metric:
    """The same for each task: what differs is the answer that counts."""
    return score


def score(prediction: str, answers: Sequence[str]) -> float:
    """1 where the prediction holds an answer as whole words, whatever the case; else 0."""
    return float(any(holds(prediction, answer) for answer in answers))

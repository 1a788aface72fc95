"""What scores a document."""

import math
from collections.abc import Sequence

from selflong.suites.prompt import Metric


def metric(task: str) -> Metric:
    """The same for every document."""
    return probability


def probability(prediction: str, answers: Sequence[str]) -> float:
    """1 / perplexity, the geometric mean of the scored tokens' probabilities, of their mean loss in nats."""
    return math.exp(-float(prediction))

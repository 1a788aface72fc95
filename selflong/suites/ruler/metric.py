"""What scores an answer to RULER."""

from functools import partial

from selflong.suites.prompt import Metric
from selflong.suites.ruler.generator.metrics import score


def metric(task: str) -> Metric:
    """RULER's metric of a task."""
    return partial(score, task)

"""What HELMET asks of one model."""

from collections.abc import Iterator

from selflong.suites.helmet.section import Helmet
from selflong.suites.load import Load, supported

SAMPLES, ANSWER_TOKENS = 100, 100
"""Of a dataset in HELMET's configs; most of its datasets answer with 20 to 100 tokens."""


def loads(suite: Helmet, supports: int | None) -> Iterator[Load]:
    """A load for each length, over all datasets."""
    datasets = {task.partition(" ")[0] for task in suite.tasks.values()}
    samples = (suite.samples or SAMPLES) * len(datasets)
    for length in supported(suite.lengths, supports):
        yield Load(length, samples, samples * length, samples * ANSWER_TOKENS)

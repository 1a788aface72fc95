"""What the published RULER sets ask of one model."""

from collections.abc import Iterator

from selflong.suites.load import Load
from selflong.suites.published_ruler.section import PublishedRulerSuite
from selflong.suites.ruler.load import loads_of_tasks

LONGEST_FULL, FULL_SAMPLES, FEWER_SAMPLES = 64_000, 500, 100
"""Prompts of each task: so many up to a length, and beyond it."""


def loads(suite: PublishedRulerSuite, supports: int | None) -> Iterator[Load]:
    """A load for each length, over all tasks."""
    samples = {
        length: FULL_SAMPLES if length <= LONGEST_FULL else FEWER_SAMPLES
        for length in suite.lengths
    }
    return loads_of_tasks(samples, suite.asked_tasks, supports)

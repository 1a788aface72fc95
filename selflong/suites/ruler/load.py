"""What RULER asks of one model."""

from collections.abc import Iterator, Mapping, Sequence

from selflong.suites.load import ANSWERED_SHARE, Load, supported
from selflong.suites.ruler.section import ANSWER_TOKENS, RulerSuite


def loads(suite: RulerSuite, supports: int | None) -> Iterator[Load]:
    """A load for each length, over all tasks."""
    samples = {length: suite.samples[length] for length in suite.lengths}
    return loads_of_tasks(samples, suite.tasks, supports)


def loads_of_tasks(
    samples: Mapping[int, int], tasks: Sequence[str], supports: int | None
) -> Iterator[Load]:
    """The same for `samples` of each task by length."""
    answer = sum(ANSWER_TOKENS[task.partition("_")[0]] for task in tasks)
    for length in supported(samples, supports):
        requests = samples[length] * len(tasks)
        allowed = samples[length] * answer
        answered = round(ANSWERED_SHARE * allowed)
        yield Load(length, requests, requests * length - allowed, answered)

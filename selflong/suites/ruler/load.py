"""What RULER asks of one model."""

from collections.abc import Iterator, Mapping, Sequence

from selflong.suites.load import ANSWERED_SHARE, Load, supported
from selflong.suites.ruler.section import ANSWER_TOKENS, NEEDLES_IN_ONE_HAYSTACK, RulerSuite


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
        count = samples[length]
        requests = count * len(tasks)
        allowed = count * answer
        prompt = requests * length - allowed
        shared = [
            shared_share(count, NEEDLES_IN_ONE_HAYSTACK[task])
            for task in tasks
            if task in NEEDLES_IN_ONE_HAYSTACK
        ]
        share = sum(first for first, _ in shared) / len(tasks)
        squares = sum(second for _, second in shared) / len(tasks)
        yield Load(
            length,
            requests,
            prompt,
            round(ANSWERED_SHARE * allowed),
            round(share * prompt),
            (1 - squares) / 2 / (1 - share),
        )


def shared_share(samples: int, needles: int) -> tuple[float, float]:
    """Share of a task's prompts that begins the prompt asked before, on average, and the mean of its square.

    Needles lie anywhere alike; a prompt shares what comes before its first one with the prompt that is asked
    before it, and the first prompt shares nothing.
    """
    others = (samples - 1) / samples
    return others / (needles + 1), 2 * others / ((needles + 1) * (needles + 2))

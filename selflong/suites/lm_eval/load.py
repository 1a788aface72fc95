"""What tasks of lm-evaluation-harness ask of one model."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from selflong.formats import read_csv
from selflong.suites.lm_eval.section import HarnessTask, LmEval
from selflong.suites.load import Load, supported


class Size(NamedTuple):
    """Of a task, rounded."""

    questions: int
    tokens: int
    """Of a question, with the shots that the task brings."""
    answer: int
    reads: int = 1
    """Of a question: one for each choice."""


SIZES = {
    row.pop("task"): Size(**{name: int(value) for name, value in row.items()})
    for row in read_csv(Path(__file__).with_name("sizes.csv"))
}
"""Of InfiniteBench by its paper's table 2 (arXiv 2402.13718), of the others by their data and shots."""
OTHER = Size(1_000, 500, 16)


def loads(suite: LmEval, supports: int | None) -> Iterator[Load]:
    """A load for each length, or one of the mean length of the prompts, which every model supports."""
    if not suite.lengths:
        load = _load(suite, None)
        yield Load(
            load.prompt_tokens // load.requests,
            load.requests,
            load.prompt_tokens,
            load.answer_tokens,
        )
    for length in supported(suite.lengths, supports):
        yield _load(suite, length)


def _load(suite: LmEval, length: int | None) -> Load:
    requests = prompt = answer = 0
    for task in suite.tasks.values():
        size = SIZES.get(task.name, OTHER)
        asked = min(size.questions, suite.limit or size.questions) * size.reads
        requests += asked
        prompt += asked * _prompt_tokens(task, size, length)
        answer += asked * size.answer
    return Load(length or 0, requests, prompt, answer)


def _prompt_tokens(task: HarnessTask, size: Size, length: int | None) -> int:
    """With the shots that the recipe gives; a task whose size is unknown fills the length."""
    if length is not None and task.name not in SIZES:
        return length
    tokens = size.tokens * (1 + (task.shots or 0))
    return tokens if length is None else min(tokens, length)

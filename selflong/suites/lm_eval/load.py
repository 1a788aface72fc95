"""What tasks of lm-evaluation-harness ask of one model."""

from collections.abc import Iterator
from typing import NamedTuple

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
    "leaderboard_bbh": Size(5_761, 1_100, 2),
    "leaderboard_gpqa": Size(1_192, 250, 2),
    "leaderboard_ifeval": Size(541, 60, 400),
    "leaderboard_mmlu_pro": Size(12_032, 1_300, 2),
    "leaderboard_musr": Size(756, 1_100, 2),
    "arc_challenge": Size(1_172, 35, 5, reads=4),
    "gsm8k": Size(1_319, 150, 100),
    "hellaswag": Size(10_042, 90, 25, reads=4),
    "mmlu": Size(14_042, 120, 1, reads=4),
    "winogrande": Size(1_267, 25, 5, reads=2),
    "infinitebench_code_debug": Size(394, 115_000, 5),
    "infinitebench_code_run": Size(400, 75_000, 2),
    "infinitebench_kv_retrieval": Size(500, 90_000, 23),
    "infinitebench_longbook_choice_en": Size(229, 184_000, 5),
    "infinitebench_longbook_qa_chn": Size(175, 2_000_000, 6),
    "infinitebench_longbook_qa_en": Size(351, 193_000, 5),
    "infinitebench_longbook_sum_en": Size(103, 172_000, 1_100),
    "infinitebench_longdialogue_qa_en": Size(200, 104_000, 3),
    "infinitebench_math_find": Size(350, 88_000, 1),
    "infinitebench_number_string": Size(590, 122_000, 4),
    "infinitebench_passkey": Size(590, 122_000, 2),
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

"""What the short tasks ask of one model."""

from collections.abc import Iterator

from selflong.suites.load import Load
from selflong.suites.short_tasks.section import ShortTasks

# Questions, prompt tokens and answer tokens of lm-evaluation-harness' tasks with their shots; rounded.
TASKS = {
    "leaderboard_bbh": (5_761, 1_100, 2),
    "leaderboard_gpqa": (1_192, 250, 2),
    "leaderboard_ifeval": (541, 60, 400),
    "leaderboard_mmlu_pro": (12_032, 1_300, 2),
    "leaderboard_musr": (756, 1_100, 2),
}
OTHER_TASK = (1_000, 500, 16)


def loads(suite: ShortTasks, supports: int | None) -> Iterator[Load]:
    """One load, of the mean length of its prompts, which every model supports."""
    requests = prompt = answer = 0
    for task in suite.tasks.values():
        questions, prompt_tokens, answer_tokens = TASKS.get(task, OTHER_TASK)
        questions = min(questions, suite.limit or questions)
        requests += questions
        prompt += questions * prompt_tokens
        answer += questions * answer_tokens
    yield Load(prompt // max(1, requests), requests, prompt, answer)

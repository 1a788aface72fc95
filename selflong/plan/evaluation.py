"""Requests and tokens of every suite, for one model."""

from collections.abc import Iterator
from dataclasses import dataclass

from selflong.evaluation import needle_grid, output_length, published_ruler
from selflong.plan.architecture import Architecture
from selflong.plan.machines import Machine
from selflong.recipe import (
    RULER_TASKS,
    Helmet,
    NeedleGrid,
    OutputLength,
    PublishedRulerSuite,
    RecallSuite,
    RulerSuite,
    ShortTasks,
    Suite,
)

PUBLISHED_SAMPLES = {64_000: 500}
"""Rows of each published configuration up to a length; 100 beyond."""

# Questions, prompt tokens and answer tokens of lm-evaluation-harness' tasks with their shots; rounded.
SHORT_TASKS = {
    "leaderboard_bbh": (5_761, 1_100, 2),
    "leaderboard_gpqa": (1_192, 250, 2),
    "leaderboard_ifeval": (541, 60, 400),
    "leaderboard_mmlu_pro": (12_032, 1_300, 2),
    "leaderboard_musr": (756, 1_100, 2),
}
OTHER_SHORT_TASK = (1_000, 500, 16)
HELMET_SAMPLES, HELMET_ANSWER_TOKENS = 100, 100
"""Of a dataset in HELMET's configs; most of its datasets answer with 20 to 100 tokens."""
ANSWERED_SHARE = 0.36
"""Tokens of an answer over those that it may have: three checkpoints on the laptop recipe's suites."""
DECODE_SHARE = 0.5
"""Of the memory bandwidth, in decoding."""
WRITING_PROMPT_TOKENS = 64


@dataclass(frozen=True)
class Load:
    """Requests of one length."""

    length: int
    """Tokens of a request with its answer."""
    requests: int
    prompt_tokens: int
    answer_tokens: int
    """Expected: most answers end before they must."""
    shared_tokens: int = 0
    """Of the prompts' tokens those of a beginning that the server has read before."""

    looked_back: float = 0.5
    """How far the tokens that are read look back on average, as a share of the length."""

    @property
    def read_tokens(self) -> int:
        return self.prompt_tokens - self.shared_tokens


def loads(suite: Suite, supports: int | None = None) -> Iterator[Load]:
    """What a suite asks of one model that supports a length; a ShortTasks suite counts as one length."""
    if isinstance(suite, RulerSuite):
        counts = {length: suite.samples[length] for length in suite.lengths}
        yield from _ruler(counts, suite.tasks, supports)
    elif isinstance(suite, PublishedRulerSuite):
        counts = {
            length: 500 if length <= max(PUBLISHED_SAMPLES) else 100 for length in suite.lengths
        }
        yield from _ruler(counts, list(RULER_TASKS), supports)
    elif isinstance(suite, NeedleGrid):
        for length in _supported(suite.lengths, supports):
            yield _needle_grid(suite, length)
    elif isinstance(suite, OutputLength):
        for words in suite.lengths:
            answer = suite.prompts * output_length.TOKENS_PER_WORD * words
            prompt = suite.prompts * WRITING_PROMPT_TOKENS
            yield Load(2 * words, suite.prompts, prompt, answer)
    elif isinstance(suite, RecallSuite):
        for length in suite.lengths:
            yield Load(length, suite.sequences, suite.sequences * length, 0)
    else:
        yield from _by_harness(suite, supports)


def _needle_grid(suite: NeedleGrid, length: int) -> Load:
    """Of a haystack's prompts the deepest is read whole, each other one from its needle on."""
    cells = suite.depths * suite.repeats
    prompt = length - needle_grid.ANSWER_TOKENS
    shared = [*needle_grid.depths(suite)[:-1], 0.0]
    return Load(
        length,
        cells,
        cells * prompt,
        round(ANSWERED_SHARE * cells * needle_grid.ANSWER_TOKENS),
        round(sum(shared) * suite.repeats * prompt),
        sum(1 - depth**2 for depth in shared) / 2 / sum(1 - depth for depth in shared),
    )


def _by_harness(suite: ShortTasks | Helmet, supports: int | None) -> Iterator[Load]:
    if isinstance(suite, ShortTasks):
        yield _short_tasks(suite)
        return
    samples = HELMET_SAMPLES * len(suite.tasks)
    for length in _supported(suite.lengths, supports):
        yield Load(length, samples, samples * length, samples * HELMET_ANSWER_TOKENS)


def _supported(lengths: list[int], supports: int | None) -> list[int]:
    return [length for length in lengths if supports is None or length <= supports]


def _ruler(counts: dict[int, int], tasks: list[str], supports: int | None) -> Iterator[Load]:
    answer = sum(published_ruler.ANSWER_TOKENS[task.partition("_")[0]] for task in tasks)
    for length in _supported(list(counts), supports):
        requests = counts[length] * len(tasks)
        allowed = counts[length] * answer
        answered = round(ANSWERED_SHARE * allowed)
        yield Load(length, requests, requests * length - allowed, answered)


def _short_tasks(suite: ShortTasks) -> Load:
    requests = prompt = answer = 0
    for task in suite.tasks.values():
        questions, prompt_tokens, answer_tokens = SHORT_TASKS.get(task, OTHER_SHORT_TASK)
        questions = min(questions, suite.limit or questions)
        requests += questions
        prompt += questions * prompt_tokens
        answer += questions * answer_tokens
    return Load(prompt // max(1, requests), requests, prompt, answer)


def seconds_of(load: Load, model: Architecture, machine: Machine) -> float:
    """Time on one node: the prompts are bound by arithmetic, the answers by memory."""
    devices = machine.devices_per_node
    prefill = model.forward_flops(load.read_tokens, load.looked_back * load.length, logits=False)
    read = model.cache_bytes(load.length) + 2 * model.parameters
    return prefill / (devices * machine.flops * machine.prefill_share) + (
        load.answer_tokens * read / (devices * machine.bandwidth * DECODE_SHARE)
    )


def serving_bytes(length: int, model: Architecture, devices: int) -> float:
    """Memory of each device that serves one request of `length`, tensor parallel over all of them."""
    return (2 * model.parameters + model.cache_bytes(length)) / devices

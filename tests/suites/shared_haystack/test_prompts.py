"""Prompts of one haystack differ in their question alone, and the plan counts that they are read once."""

import itertools
import re
from pathlib import Path

import pytest

from selflong.job import UserError
from selflong.llm import Endpoint
from selflong.suites.prompt import Prompt, Respondent
from selflong.suites.section import HaystackFile
from selflong.suites.shared_haystack.load import QUESTION_TOKENS, loads
from selflong.suites.shared_haystack.prompts import prompts
from selflong.suites.shared_haystack.section import NEEDLE_TASKS, SharedHaystack
from selflong.tokens import Tokenizer
from tests.suites.jobs import job_of

LENGTH = 2400
SUITE = SharedHaystack(
    kind="shared_haystack", models=["m"], tasks=list(NEEDLE_TASKS), lengths=[LENGTH], haystacks=2,
    questions=5, seed=42,
)  # fmt: skip
ENDPOINT = Endpoint("", "", "m", "m", 1, LENGTH, "none", "0")
_LINE = re.compile(r"One of the special magic \w+ for (.+?) is: (\S+?)\.(?=\s|$)")


@pytest.fixture(scope="module")
def asked(
    smollm2_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], list[Prompt]]:
    """Task and haystack -> prompts."""
    folder = tmp_path_factory.mktemp("shared")
    essays = folder / "essays.txt"
    essays.write_text(" ".join(f"The river rose again on day {day}." for day in range(400)))
    suite = SUITE.model_copy(update={"files": HaystackFile(haystack=essays)})
    job = job_of("shared", suite, folder, folder)
    found = prompts(suite, Respondent(job, smollm2_tokenizer, ENDPOINT, [LENGTH]))
    of = itertools.groupby(found, lambda prompt: (prompt.task, prompt.index // SUITE.questions))
    return {key: list(group) for key, group in of}


def common(one: Prompt, other: Prompt) -> int:
    """Tokens that two prompts begin with."""
    pairs = zip(one.ids, other.ids, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def test_each_haystack_is_asked_all_its_questions(
    asked: dict[tuple[str, int], list[Prompt]],
) -> None:
    assert list(asked) == list(itertools.product(NEEDLE_TASKS, range(2)))
    for (_, haystack), group in asked.items():
        first = haystack * SUITE.questions
        assert [prompt.index for prompt in group] == list(range(first, first + SUITE.questions))
        assert len({prompt.answers for prompt in group}) == SUITE.questions


def test_answers_stand_in_the_haystack_at_the_depth_that_is_told(
    asked: dict[tuple[str, int], list[Prompt]],
) -> None:
    for prompt in itertools.chain.from_iterable(asked.values()):
        assert isinstance(prompt.message, str)
        haystack, _, question = prompt.message.rpartition("\n")
        lines = [(match.start(), *match.groups()) for match in _LINE.finditer(f"{haystack}\n")]
        found = {value: place for place, key, value in lines if key in question}
        assert set(found) == set(prompt.answers)
        assert prompt.depth is not None
        assert min(found.values()) / len(haystack) == pytest.approx(prompt.depth, abs=0.15)


def test_the_plan_counts_a_haystack_once(asked: dict[tuple[str, int], list[Prompt]]) -> None:
    (load,) = loads(SUITE, None)
    groups = list(asked.values())
    assert load.requests == sum(map(len, groups))
    for group in groups:
        for one, other in itertools.pairwise(group):
            assert len(one.ids) <= LENGTH - one.answer_tokens
            # Keys of 36 letters are longer than words, and a question may name four.
            assert len(other.ids) - common(one, other) <= 4 * QUESTION_TOKENS
    read = sum(
        len(group[0].ids)
        + sum(len(other.ids) - common(one, other) for one, other in itertools.pairwise(group))
        for group in groups
    )
    sent = sum(len(prompt.ids) for group in groups for prompt in group)
    assert read / sent == pytest.approx(load.read_tokens / load.prompt_tokens, abs=0.06)


def test_a_length_below_its_needles_is_refused(
    smollm2_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    job = job_of("shared", SUITE, tmp_path, tmp_path)
    with pytest.raises(UserError, match="300 tokens are too few for niah_single_1"):
        list(prompts(SUITE, Respondent(job, smollm2_tokenizer, ENDPOINT, [300])))

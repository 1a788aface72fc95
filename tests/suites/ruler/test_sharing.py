"""Prompts of one haystack begin alike, and the plan counts it."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest

from selflong.llm import Endpoint
from selflong.suites.prompt import Respondent
from selflong.suites.ruler.generator.tasks import NEEDLE_TASKS, Convention
from selflong.suites.ruler.load import loads, shared_share
from selflong.suites.ruler.prompts import by_beginning, prompts
from selflong.suites.ruler.section import NEEDLES_IN_ONE_HAYSTACK, RulerSuite
from selflong.tokens import Tokenizer
from tests.suites.jobs import job_of

ENDPOINT = Endpoint(
    base_url="", api_key="", model="m", identity="i", slots=1, context_tokens=4096,
    server="s", server_version="1",
)  # fmt: skip


def shared(asked: Sequence[Sequence[int]]) -> int:
    """Tokens that prompts have in common with the one before each."""
    return sum(
        sum(
            1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))
        )
        for a, b in itertools.pairwise(asked)
    )


def test_the_tasks_are_those_whose_haystack_is_the_same() -> None:
    found = {
        task: spec.keys * spec.values
        for task, spec in NEEDLE_TASKS.items()
        if spec.haystack != "needles"
    }
    assert found == NEEDLES_IN_ONE_HAYSTACK


@pytest.mark.parametrize("convention", ["ruler_exact", "ruler_2024"])
@pytest.mark.parametrize("task", ["niah_single_1", "niah_multivalue"])
def test_the_plan_counts_what_prompts_share(
    task: str, convention: Convention, smollm2_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    section = RulerSuite(
        kind="ruler", models=["m"], convention=convention, tasks=[task], lengths=[2000],
        samples={2000: 30}, seed=42,
    )  # fmt: skip
    job = job_of("ruler", section, tmp_path, tmp_path)
    asked = list(prompts(section, Respondent(job, smollm2_tokenizer, ENDPOINT, [2000])))
    drawn = sorted(asked, key=lambda prompt: prompt.index)
    assert [prompt.index for prompt in drawn] == list(range(30))
    assert list(by_beginning(drawn)) == asked
    ids = [prompt.ids for prompt in asked]
    assert shared(ids) >= shared([prompt.ids for prompt in drawn])
    (load,) = loads(section, None)
    planned = load.shared_tokens / load.prompt_tokens
    assert shared(ids) / sum(map(len, ids)) == pytest.approx(planned, abs=0.12)


def test_shares_lie_between_nothing_and_the_whole() -> None:
    assert shared_share(1, 1) == (0, 0)
    assert shared_share(100, 1) == (pytest.approx(0.495), pytest.approx(0.33))
    assert shared_share(100, 4) == (pytest.approx(0.198), pytest.approx(0.066))

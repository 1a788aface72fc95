"""Samples of every task: exact counts, the limit, what must be in the prompt, depths."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from selflong.job import UserError
from selflong.suites.ruler.generator import Sources, generate_samples
from selflong.suites.ruler.generator.generate import RulerSample
from selflong.suites.ruler.generator.tasks import NEEDLE_TASKS, Convention
from selflong.suites.ruler.section import RULER_TASKS
from selflong.tokens import Tokenizer

CONVENTIONS: tuple[Convention, ...] = ("ruler_exact", "ruler_2024")
SAMPLES = 20
"""Of each example that hypothesis draws."""
_REFUSAL = re.compile(
    r"lengths: (\d+) tokens are too few for (\w+), which needs (\d+) for sample \d+"
)
_LINE = re.compile(r"One of the special magic \w+ for (.+?) is: (.+?)\.")


def make(
    task: str,
    length: int,
    count: int,
    tokenizer: Tokenizer,
    sources: Sources,
    convention: Convention = "ruler_exact",
    seed: int = 1,
    chat: bool = True,
) -> list[RulerSample]:
    return list(
        generate_samples(
            task,
            length,
            count,
            convention=convention,
            tokenizer=tokenizer,
            seed=seed,
            sources=sources,
            chat=chat,
        )
    )


def rendered(sample: RulerSample, tokenizer: Tokenizer, chat: bool) -> list[int]:
    """The prompt's tokens from its texts alone."""
    prefix = tokenizer.encode(sample.answer_prefix)
    if chat:
        message = {"role": "user", "parts": [{"kind": "prompt", "text": sample.prompt}]}
        return [*tokenizer.render([message], add_generation_prompt=True).ids.tolist(), *prefix]
    assert tokenizer.bos_id is not None
    return [tokenizer.bos_id, *tokenizer.encode(sample.prompt), *prefix]


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("task", RULER_TASKS)
def test_tokens_are_those_of_the_whole_text(
    task: str, convention: Convention, chat: bool, tokenizer: Tokenizer, sources: Sources
) -> None:
    for sample in make(task, 6000, 2, tokenizer, sources, convention, chat=chat):
        assert sample.prompt_ids == rendered(sample, tokenizer, chat)
        assert sample.text == tokenizer.decode(sample.prompt_ids)
        assert sample.tokens == len(sample.prompt_ids)
        assert sample.tokens + sample.generation_tokens <= 6000


def check(sample: RulerSample, tokenizer: Tokenizer) -> None:
    """What holds for every sample of ruler_exact."""
    assert sample.tokens + sample.generation_tokens <= sample.length
    assert sample.prompt_ids[0] == tokenizer.bos_id != sample.prompt_ids[1]
    assert all(0 <= depth <= 1 for depth in sample.depths)
    if sample.task != "qa_2":
        # HotpotQA also asks questions whose answer is yes or no.
        assert all(answer in sample.prompt for answer in sample.answers)
    if sample.task in NEEDLE_TASKS:
        lines = _LINE.findall(sample.prompt)
        spec = NEEDLE_TASKS[sample.task]
        keys = Counter(key for key, _ in lines)
        assert set(keys.values()) == {spec.values}
        assert len({value for _, value in lines}) == len(lines)
        assert len(sample.depths) == len(sample.answers) == spec.queries * spec.values
    if sample.task == "vt":
        (asked,) = re.findall(r"assigned the value (\d+) in the text above\.$", sample.prompt)
        assert sample.prompt.count(f"= {asked}\n") == 1
        assert len(set(sample.answers)) == 5
    if sample.task in ("cwe", "fwe"):
        text = sample.prompt.rpartition("\nQuestion:")[0].rpartition("\n")[2]
        words = (
            re.findall(r"(?<=\. )[^.]+?(?= \d+\.|$)", text)
            if sample.task == "cwe"
            else text.split()
        )
        common = [word for word, _ in Counter(words).most_common() if word != "..."]
        size = len(sample.answers)
        if sample.task == "cwe":
            assert set(common[:size]) == set(sample.answers)
        else:
            assert [word for word in common if len(word) == 6][:size] == sample.answers


def make_at_least(length: int, task: str, **named: object) -> list[RulerSample]:
    """Samples of `length`, or of the length that a refusal names as the least."""
    try:
        return make(task, length, SAMPLES, **named)  # type: ignore[arg-type]
    except UserError as refusal:
        needed = _REFUSAL.fullmatch(str(refusal))
        assert needed is not None
        assert (int(needed[1]), needed[2]) == (length, task)
        assert int(needed[3]) > length
        return make_at_least(int(needed[3]), task, **named)


# With both tokenizers 10,000 samples.
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    task=st.sampled_from(RULER_TASKS),
    doublings=st.floats(0, 6),
    seed=st.integers(0, 2**32),
    chat=st.booleans(),
)
def test_samples_of_any_length_hold_what_they_ask_for(
    task: str, doublings: float, seed: int, chat: bool, tokenizer: Tokenizer, sources: Sources
) -> None:
    length = int(100 * 2**doublings)
    samples = make_at_least(
        length, task, tokenizer=tokenizer, sources=sources, seed=seed, chat=chat
    )
    assert len(samples) == SAMPLES
    for sample in samples:
        check(sample, tokenizer)


@pytest.mark.parametrize("task", RULER_TASKS)
def test_little_is_left_empty_from_64k_on(
    task: str, llama_3_like: Tokenizer, sources: Sources
) -> None:
    for sample in make(task, 65_536, 2, llama_3_like, sources):
        assert 0.998 <= sample.fill <= 1
        assert sample.prompt_ids == rendered(sample, llama_3_like, chat=True)


@pytest.mark.parametrize(
    "task", ["niah_single_1", "niah_multikey_1", "niah_multikey_2", "vt", "qa_1"]
)
def test_depths_are_uniform(task: str, llama_3_like: Tokenizer, sources: Sources) -> None:
    depths = [
        depth for sample in make(task, 4096, 200, llama_3_like, sources) for depth in sample.depths
    ]
    counts, _ = np.histogram(depths, bins=5, range=(0, 1))
    assert chisquare(counts).pvalue > 1e-4


def test_the_references_questions_stand_at_one_depth_and_ours_do_not(
    llama_3_like: Tokenizer, sources: Sources
) -> None:
    places = {}
    for convention in CONVENTIONS:
        samples = make("qa_1", 4096, 12, llama_3_like, sources, convention)
        places[convention] = {
            (sample.prompt.count("Document "), round(sample.depths[0], 1)) for sample in samples
        }
    assert len(places["ruler_exact"]) > len(places["ruler_2024"])


def test_a_sample_depends_on_its_own_index_alone(llama_3_like: Tokenizer, sources: Sources) -> None:
    for task in RULER_TASKS:
        assert make(task, 4096, 3, llama_3_like, sources)[:2] == make(
            task, 4096, 2, llama_3_like, sources
        )


def test_other_files_can_be_named(
    tmp_path: Path, llama_3_like: Tokenizer, sources: Sources
) -> None:
    haystack = tmp_path / "haystack.txt"
    haystack.write_text("Rain fell on the hills. The river rose by noon. Nobody slept.")
    (sample,) = make("niah_single_2", 3000, 1, llama_3_like, replace(sources, essays=haystack))
    assert sample.prompt.count("The river rose by noon.") > 50
    assert sample.prompt_ids == rendered(sample, llama_3_like, chat=True)


def test_only_the_convention_of_2024_ends_where_its_haystack_ends(
    tmp_path: Path, llama_3_like: Tokenizer, sources: Sources
) -> None:
    haystack = tmp_path / "haystack.txt"
    haystack.write_text("Rain fell on the hills. The river rose by noon. " * 300)
    short = replace(sources, essays=haystack)
    fills = {}
    for convention in CONVENTIONS:
        for sample in make("niah_single_2", 16_000, 2, llama_3_like, short, convention):
            assert sample.prompt_ids == rendered(sample, llama_3_like, chat=True)
            fills[convention] = sample.fill
    assert fills["ruler_2024"] < 0.5
    assert 0.998 <= fills["ruler_exact"] <= 1


@pytest.mark.parametrize(
    ("task", "length", "message"),
    [
        ("niah_single_1", 100, "lengths: 100 tokens are too few for niah_single_1"),
        ("qa_2", 600, "lengths: 600 tokens are too few for qa_2"),
        ("niah", 4096, "tasks: 'niah' is no task of RULER"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_sentence(
    task: str, length: int, message: str, llama_3_like: Tokenizer, sources: Sources
) -> None:
    for convention in CONVENTIONS:
        with pytest.raises(UserError, match=message):
            make(task, length, 1, llama_3_like, sources, convention)


def test_questions_without_other_documents_are_refused_in_a_sentence(
    tmp_path: Path, llama_3_like: Tokenizer, sources: Sources
) -> None:
    questions = tmp_path / "questions.json"
    row = {"question": "Who slept?", "answer": "Nobody", "context": [["Night", ["Nobody slept."]]]}
    questions.write_text(json.dumps([row]))
    with pytest.raises(UserError, match="holds no document beyond those of a question"):
        make("qa_2", 4096, 1, llama_3_like, replace(sources, hotpotqa=questions))


def test_without_an_answer_prefix_the_prompt_ends_with_the_template(
    llama_3_like: Tokenizer, sources: Sources
) -> None:
    (sample,) = generate_samples(
        "vt",
        4096,
        1,
        convention="ruler_exact",
        tokenizer=llama_3_like,
        seed=1,
        sources=sources,
        chat=True,
        answer_prefix=False,
    )
    assert sample.answer_prefix == ""
    assert llama_3_like.decode(sample.prompt_ids).endswith("assistant<|end_header_id|>\n\n")

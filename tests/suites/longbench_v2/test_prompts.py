"""LongBench v2 from a hub: what is cut, what is asked after reasoning, which choice an answer names."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.evaluation.evaluate import evaluate
from selflong.evaluation.score import check_scores
from selflong.formats import PREDICTIONS, read_parquet
from selflong.llm.protocol import Endpoint
from selflong.scores import aggregate
from selflong.suites.longbench_v2.metric import choice, metric
from selflong.suites.longbench_v2.prompts import prompts
from selflong.suites.longbench_v2.section import LongBenchV2
from selflong.suites.longbench_v2.texts import texts
from selflong.suites.prompt import Respondent
from selflong.tokens import Tokenizer
from tests.suites.downloads import download_from_hub
from tests.suites.jobs import job_of

SUITE = LongBenchV2(
    kind="longbench_v2", models=["m"], repository="THUDM/LongBench-v2", revision="main",
    lengths=[400],
)  # fmt: skip
COT = SUITE.model_copy(update={"chain_of_thought": True})


def row(words: int, length: str, difficulty: str) -> dict[str, str]:
    choices = {f"choice_{letter}": f"colour {letter} " for letter in "ABCD"}
    context = " ".join(f"word{number}" for number in range(words))
    return {
        "_id": f"{length} {words}", "domain": "x", "sub_domain": "y", "difficulty": difficulty,
        "length": length, "question": " Which is it? ", **choices, "answer": "B",
        "context": f" {context} ",
    }  # fmt: skip


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [row(20, "short", "easy"), row(400, "medium", "hard"), row(30, "short", "hard")]
    files = {"data.json": json.dumps(rows).encode(), "README.md": b"card"}
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("download") / "longbench"
        return download_from_hub(SUITE.download, files, folder, patch)


def test_a_long_prompt_loses_its_middle(
    download: Path, smollm2_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    job = job_of("longbench", SUITE, tmp_path, tmp_path, files=[download])
    for context_tokens in (2000, 400):
        endpoint = Endpoint("", "", "m", "m", 1, context_tokens, "none", "0")
        short, cut, _ = prompts(SUITE, Respondent(job, smollm2_tokenizer, endpoint, [400]))
        assert isinstance(short.message, str) and isinstance(cut.message, str)
        assert "<text>\nword0 word1" in short.message and "word19\n</text>" in short.message
        assert "(B) colour B\n(C)" in short.message
        assert cut.message.startswith("Please read") and "word199" not in cut.message
        assert cut.message.endswith(short.message[-60:])
        assert len(cut.ids) + cut.answer_tokens <= context_tokens
        assert abs(smollm2_tokenizer.count(cut.message) - min(400, context_tokens - 150)) < 30
        assert (short.task, cut.task) == ("short, easy", "medium, hard")


def test_reasoning_is_kept_apart_and_not_scored(
    download: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selflong.suites.longbench_v2.prompts.REASONING_TOKENS", 8)
    monkeypatch.setattr("selflong.suites.longbench_v2.prompts.ANSWER_TOKENS", 8)
    output = tmp_path / "all.parquet"
    evaluate(job_of("longbench", COT, checkpoint, tmp_path, files=[download]), output)
    found = read_parquet(output, PREDICTIONS)
    assert found["index"].to_list() == [0, 1, 2]
    assert found["reasoning"].is_not_null().all()
    assert found["prompt"].str.contains("step by step:<|im_end|>", literal=True).all()
    assert (found["completion_tokens"] > 0).all()
    check_scores(COT, output)


def test_the_choice_is_asked_for_without_the_documents(
    download: Path, smollm2_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    job = job_of("longbench", COT, tmp_path, tmp_path, files=[download])
    endpoint = Endpoint("", "", "m", "m", 1, 4000, "none", "0")
    first = next(prompts(COT, Respondent(job, smollm2_tokenizer, endpoint, [400])))
    assert first.then is not None
    second = first.then(" It is $context$ blue. ")
    assert isinstance(second.message, str) and "word1" not in second.message
    assert "step by step: It is $context$ blue.\n\nBased on" in second.message
    assert (second.task, second.index, second.then) == (first.task, first.index, None)


def test_its_texts_are_documents_and_questions(download: Path) -> None:
    found = list(texts(SUITE, download))
    assert [name for name, _ in found] == ["context", "question"] * 3
    assert "Which is it?" in found[1][1] and "colour D" in found[1][1]


@settings(deadline=None)
@given(st.sampled_from("ABCDE"), st.text(max_size=10), st.booleans())
def test_the_bracketed_choice_counts_first(letter: str, around: str, bold: bool) -> None:
    star = "**" if bold else ""
    text = f"{around}The correct answer is {star}({letter}){star}. {around}"
    assert choice(text) == (letter if letter in "ABCD" else None)
    assert choice(f"The correct answer is D, no: {text}") == (letter if letter in "ABCD" else "D")
    assert choice(f"I think {letter}") is None
    assert metric("short, easy")(text, ["B"]) == float(letter == "B")


def test_each_question_counts_alike() -> None:
    rows = [("short, easy", 1.0)] * 3 + [("long, hard", 0.0)]
    frame = pl.DataFrame(
        [
            {"suite": "l", "model": "m", "task": task, "length": 400, "index": index,
             "depth": None, "score": score}
            for index, (task, score) in enumerate(rows)
        ],
        schema_overrides={"depth": pl.Float64},
    )  # fmt: skip
    found = aggregate({"f": frame}, frozenset(), 1, pooled=frozenset({"l"}))
    assert found.filter(pl.col("task") == "mean")["mean"].item() == 0.75

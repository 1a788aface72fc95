"""Suites asked of a real checkpoint through a real server, and their scores."""

import dataclasses
import logging
import re
import threading
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import LlamaForCausalLM

from selflong.evaluation.evaluate import asked_lengths, evaluate
from selflong.evaluation.score import check_scores, score
from selflong.formats import PREDICTIONS, SCORES, read_parquet, write_parquet
from selflong.job import UserError
from selflong.llm.generation import ATTENTION, Generator
from selflong.recipe.suites import Suite
from selflong.suites.evaluation_job import Job
from selflong.suites.needle_grid.prompts import cells
from selflong.suites.output_length.section import OutputLength
from selflong.suites.ruler.generator.sources import suite_sources
from selflong.tokens import load_tokenizer
from tests.suites.jobs import GRID, RULER, job_of

WRITING = OutputLength(kind="output_length", models=["m"], lengths=[5], prompts=2, seed=7)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


def job(name: str, suite: Suite, checkpoint: Path, work: Path) -> Job:
    return job_of(name, suite, checkpoint, work / "work" / name)


def output(work: Path, name: str) -> Path:
    return work / "results" / "evaluation" / name / "m" / "initial" / "all.parquet"


def test_ruler_is_predicted_scored_and_not_asked_again(checkpoint: Path, work: Path) -> None:
    asked = job("ruler", RULER, checkpoint, work)
    path = output(work, "ruler")
    evaluate(asked, path)
    found = read_parquet(path, PREDICTIONS)
    counts = found.group_by("length", "task").len().sort("length", "task")["len"].to_list()
    assert counts == [2, 2, 1, 1]
    assert found["prompt"].str.contains("<|im_start|>assistant", literal=True).all()
    assert (found["prompt_tokens"] < found["length"]).all()
    assert set(found["precision"]) == {"float32"}
    assert found.filter(pl.col("task") == "niah_single_1")["depth"].is_between(0, 1).all()
    held = sum(file.stat().st_size for file in (asked.work / "requests").iterdir())
    evaluate(asked, path)
    assert read_parquet(path, PREDICTIONS).equals(found)
    assert sum(file.stat().st_size for file in (asked.work / "requests").iterdir()) == held

    scores = work / "results" / "evaluation" / "ruler" / "scores.parquet"
    score(
        name="ruler",
        suite=RULER,
        predictions=[path],
        results=work / "results",
        output=scores,
        seed=1,
    )
    rows = read_parquet(scores, SCORES)
    assert rows["files"].to_list()[0] == ["evaluation/ruler/m/initial/all.parquet"]
    changed = found.with_columns(pl.lit(0.5).alias("score"))
    write_parquet(changed, work / "changed.parquet", PREDICTIONS)
    with pytest.raises(UserError, match="is not its metric's"):
        check_scores(RULER, work / "changed.parquet")


def test_other_suites_pass_the_same_way(checkpoint: Path, work: Path) -> None:
    for name, suite, rows in (("grid", GRID, 3), ("writing", WRITING, 2)):
        evaluate(job(name, suite, checkpoint, work), output(work, name))
        found = read_parquet(output(work, name), PREDICTIONS)
        assert found.height == rows
        assert found["score"].is_between(0, 1).all()
        assert (found["completion_tokens"] > 0).all()
        check_scores(suite, output(work, name))


def test_a_grid_reads_its_haystack_once_and_answers_the_same(
    checkpoint: Path, work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    suite = GRID.model_copy(update={"lengths": [2000], "depths": 20})
    caplog.set_level(logging.INFO, logger="selflong.evaluation.generate")
    evaluate(job("deep", suite, checkpoint, work), output(work, "deep"))
    found = read_parquet(output(work, "deep"), PREDICTIONS)
    sent, read = (
        int(count.replace(",", ""))
        for count in re.findall(r"[\d,]+(?= prompt|,? of them)", caplog.text)
    )
    assert sent == found["prompt_tokens"].sum()
    # 0.53 and, at so short a length, half a block of each prompt.
    assert read <= 0.6 * sent

    tokenizer = load_tokenizer(checkpoint, "26 Jul 2024")
    model = LlamaForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation=ATTENTION
    )
    alone = []
    generator = Generator(model, key_tokens=1)
    threading.Thread(target=generator.run, daemon=True).start()
    for prompt in cells(suite, tokenizer, suite_sources({}).essays, suite.lengths):
        generated = generator.submit(prompt.ids, prompt.answer_tokens, frozenset(tokenizer.end_ids))
        assert generated.result().cached_tokens == 0
        alone.append(tokenizer.decode(generated.result().token_ids))
    assert found["prediction"].to_list() == alone


def test_lengths_that_are_not_supported_are_left_out(checkpoint: Path, work: Path) -> None:
    asked = dataclasses.replace(job("ruler", RULER, checkpoint, work), supports=600)
    assert asked_lengths(asked, None) == [512]
    evaluate(asked, work / "none.parquet", [700])
    assert read_parquet(work / "none.parquet", PREDICTIONS).is_empty()
    with pytest.raises(UserError, match="9 is not among"):
        asked_lengths(asked, [9])


def test_a_length_beyond_the_checkpoint_is_refused(checkpoint: Path, work: Path) -> None:
    suite = RULER.model_copy(update={"lengths": [3000], "samples": {3000: 1}})
    with pytest.raises(UserError, match="is served with 2048"):
        evaluate(job("long", suite, checkpoint, work), work / "long.parquet")

"""Suites asked of a real checkpoint through a real server, and their scores."""

import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import get_args

import polars as pl
import pytest
import torch
from transformers import LlamaForCausalLM

from selflong.evaluation import needle_grid
from selflong.evaluation.evaluate import asked_lengths, evaluate
from selflong.evaluation.ruler import Sources, suite_sources
from selflong.evaluation.score import check_scores, score
from selflong.evaluation.suites import KINDS, Job
from selflong.evaluation.texts import write_evaluation_texts
from selflong.formats import EVALUATION_TEXTS, PREDICTIONS, SCORES, read_parquet, write_parquet
from selflong.job import UserError
from selflong.llm.generation import ATTENTION, Generator
from selflong.recipe import (
    FolderWeights,
    HaystackFile,
    Model,
    NeedleGrid,
    OutputLength,
    Recipe,
    RulerFiles,
    RulerSuite,
    ShortTasks,
    Suite,
    TransformersServing,
    load_site,
)
from selflong.tokens import load_tokenizer
from selflong.workflow import Run

REPOSITORY = Path(__file__).parents[2]

RULER = RulerSuite(
    kind="ruler",
    models=["m"],
    convention="ruler_exact",
    tasks=["niah_single_1", "qa_1"],
    lengths=[512, 700],
    samples={512: 2, 700: 1},
    seed=42,
)
GRID = NeedleGrid(kind="needle_grid", models=["m"], lengths=[300], depths=3, seed=7)
WRITING = OutputLength(kind="output_length", models=["m"], lengths=[5], prompts=2, seed=7)


def test_every_kind_of_suite_brings_what_asks_and_what_scores() -> None:
    kinds, _ = get_args(Suite)
    assert set(KINDS) == set(get_args(kinds))
    for kind in KINDS.values():
        assert (kind.harness is None) == (kind.metric is not None)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


def job(name: str, suite: Suite, checkpoint: Path, sources: Sources, work: Path) -> Job:
    return Job(
        suite_name=name,
        suite=suite,
        checkpoint="m/initial",
        model=checkpoint,
        tokenizer=checkpoint,
        serving=TransformersServing(kind="transformers", threads=1, precision="float32"),
        work=work / "work" / name,
        sources=sources,
        chat_date="26 Jul 2024",
    )


def output(work: Path, name: str) -> Path:
    return work / "results" / "evaluation" / name / "m" / "initial" / "all.parquet"


def test_ruler_is_predicted_scored_and_not_asked_again(
    checkpoint: Path, sources: Sources, work: Path
) -> None:
    asked = job("ruler", RULER, checkpoint, sources, work)
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
    score("ruler", RULER, [path], work / "results", scores, seed=1)
    rows = read_parquet(scores, SCORES)
    assert rows["files"].to_list()[0] == ["evaluation/ruler/m/initial/all.parquet"]
    changed = found.with_columns(pl.lit(0.5).alias("score"))
    write_parquet(changed, work / "changed.parquet", PREDICTIONS)
    with pytest.raises(UserError, match="is not its metric's"):
        check_scores(RULER, work / "changed.parquet")


def test_other_suites_pass_the_same_way(checkpoint: Path, sources: Sources, work: Path) -> None:
    for name, suite, rows in (("grid", GRID, 3), ("writing", WRITING, 2)):
        evaluate(job(name, suite, checkpoint, sources, work), output(work, name))
        found = read_parquet(output(work, name), PREDICTIONS)
        assert found.height == rows
        assert found["score"].is_between(0, 1).all()
        assert (found["completion_tokens"] > 0).all()
        check_scores(suite, output(work, name))


def test_a_grid_reads_its_haystack_once_and_answers_the_same(
    checkpoint: Path, sources: Sources, work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    suite = GRID.model_copy(update={"lengths": [2000], "depths": 20})
    caplog.set_level(logging.INFO, logger="selflong.evaluation.generate")
    evaluate(job("deep", suite, checkpoint, sources, work), output(work, "deep"))
    found = read_parquet(output(work, "deep"), PREDICTIONS)
    sent, read = (
        int(count.replace(",", ""))
        for count in re.findall(r"[\d,]+(?= prompt|,? of them)", caplog.text)
    )
    assert sent == found["prompt_tokens"].sum()
    assert read <= 0.6 * sent

    tokenizer = load_tokenizer(checkpoint, "26 Jul 2024")
    model = LlamaForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation=ATTENTION
    )
    alone = []
    for prompt in needle_grid.prompts(suite, tokenizer, sources.essays, suite.lengths):
        generated = Generator(model, key_tokens=1).submit(
            prompt.ids, prompt.answer_tokens, frozenset(tokenizer.end_ids)
        )
        assert generated.result().cached_tokens == 0
        alone.append(tokenizer.decode(generated.result().token_ids))
    assert found["prediction"].to_list() == alone


def test_lengths_that_are_not_supported_are_left_out(
    checkpoint: Path, sources: Sources, work: Path
) -> None:
    asked = dataclasses.replace(job("ruler", RULER, checkpoint, sources, work), supports=600)
    assert asked_lengths(asked, None) == [512]
    evaluate(asked, work / "none.parquet", [700])
    assert read_parquet(work / "none.parquet", PREDICTIONS).is_empty()
    with pytest.raises(UserError, match="9 is not among"):
        asked_lengths(asked, [9])


def test_a_length_beyond_the_checkpoint_is_refused(
    checkpoint: Path, sources: Sources, work: Path
) -> None:
    suite = RULER.model_copy(update={"lengths": [3000], "samples": {3000: 1}})
    with pytest.raises(UserError, match="is served with 2048"):
        evaluate(job("long", suite, checkpoint, sources, work), work / "long.parquet")


def test_texts_hold_the_questions_and_haystacks(tmp_path: Path) -> None:
    suites: dict[str, Suite] = {
        "ruler": RULER,
        "grid": GRID,
        "short": ShortTasks(kind="short_tasks", models=["m"], tasks={"x": "y"}),
    }
    write_evaluation_texts(suites, tmp_path / "texts.parquet")
    texts = read_parquet(tmp_path / "texts.parquet", EVALUATION_TEXTS)
    names = set(zip(texts["suite"], texts["name"], strict=True))
    assert {("ruler", "noise"), ("ruler", "qa_1/question"), ("grid", "essays")} <= names
    assert ("ruler", "essays") not in names  # none of its tasks reads them
    questions = texts.filter(pl.col("name") == "qa_1/question")["text"].to_list()
    assert len(questions) == 2
    assert all("?" in question for question in questions)
    (essays,) = texts.filter(pl.col("name") == "essays")["text"]
    assert len(essays) > 1_000_000


def test_a_suite_can_name_its_haystack_and_questions(tmp_path: Path) -> None:
    haystack = tmp_path / "rain.txt"
    haystack.write_text("Rain fell on the hills. The river rose by noon.")
    questions = tmp_path / "questions.json"
    paragraph = [["Hills", ["The hills are green."]]]
    row = {"question": "Which colour have the hills?", "answer": "green", "context": paragraph}
    questions.write_text(json.dumps([row]))
    files = RulerFiles(haystack=haystack, qa_2=questions)
    named = {"tasks": ["niah_single_2", "qa_2"], "files": files}
    suites: dict[str, Suite] = {
        "named": RULER.model_copy(update=named),
        "grid": GRID.model_copy(update={"files": HaystackFile(haystack=haystack)}),
    }
    write_evaluation_texts(suites, tmp_path / "texts.parquet")
    texts = read_parquet(tmp_path / "texts.parquet", EVALUATION_TEXTS)
    found = {(suite, name): text for suite, name, text in texts.iter_rows()}
    assert found["named", "essays"] == found["grid", "essays"] == haystack.read_text()
    assert found["named", "qa_2/question"] == "Which colour have the hills? green"
    assert found["named", "qa_2/document"] == "Hills\nThe hills are green."
    assert suite_sources(suites["named"]).squad == suite_sources(RULER).squad


def test_a_suite_that_names_no_file_has_the_digest_of_before() -> None:
    assert "files" not in RULER.model_dump()
    assert RULER.model_copy(update={"files": RulerFiles()}).digest != RULER.digest


def test_a_named_file_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    suite = RULER.model_copy(update={"files": RulerFiles(haystack=tmp_path / "none.txt")})
    recipe = Recipe(
        name="r",
        description="",
        seed=1,
        models={"m": Model(label="m", weights=FolderWeights(kind="folder", path=tmp_path))},
        suites={"ruler": suite},
    )
    site = load_site(REPOSITORY / "config.yaml")
    with pytest.raises(UserError, match=r"suites\.ruler\.files\.haystack: .* is no file"):
        Run(recipe, site).suite_files("ruler")
    (tmp_path / "none.txt").write_text("Rain.")
    assert Run(recipe, site).named_files == [str(tmp_path / "none.txt")]

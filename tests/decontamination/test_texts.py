"""The evaluation's own texts are those that its suites ask about."""

import json
from pathlib import Path

import polars as pl

from selflong.decontamination.texts import write_evaluation_texts
from selflong.formats import EVALUATION_TEXTS, read_parquet
from selflong.recipe.suites import Suite
from selflong.suites.lm_eval.section import LmEval
from selflong.suites.ruler.generator import packaged_sources, suite_sources
from selflong.suites.ruler.section import RulerFiles
from selflong.suites.section import HaystackFile
from tests.suites.jobs import GRID, RULER


def test_texts_hold_the_questions_and_haystacks(tmp_path: Path) -> None:
    suites: dict[str, Suite] = {
        "ruler": RULER,
        "grid": GRID,
        "short": LmEval(kind="lm_eval", models=["m"], tasks={"x": "y"}),
    }
    write_evaluation_texts(suites, {}, tmp_path / "texts.parquet")
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
    write_evaluation_texts(suites, {}, tmp_path / "texts.parquet")
    texts = read_parquet(tmp_path / "texts.parquet", EVALUATION_TEXTS)
    found = {(suite, name): text for suite, name, text in texts.iter_rows()}
    assert found["named", "essays"] == found["grid", "essays"] == haystack.read_text()
    assert found["named", "qa_2/question"] == "Which colour have the hills? green"
    assert found["named", "qa_2/document"] == "Hills\nThe hills are green."
    assert suite_sources(suites["named"].named_files).squad == packaged_sources().squad

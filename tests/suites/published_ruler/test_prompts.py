"""Prompts and stored predictions in the layout of self-long/RULER-llama3-1M."""

from pathlib import Path

import polars as pl
import pytest
from transformers import AutoTokenizer

from selflong.evaluation.generate import check_bos
from selflong.evaluation.score import score, write_stored_predictions
from selflong.formats import MEAN_OF_TASKS, PREDICTIONS, SCORES, read_parquet
from selflong.job import UserError
from selflong.suites.published_ruler.prompts import read_prompts
from selflong.suites.published_ruler.section import PublishedRulerSuite
from selflong.suites.published_ruler.stored import stored_predictions
from selflong.suites.ruler.section import RULER_TASKS

INPUT = "<|im_start|>user\nWhat is the number?<|im_end|>\n<|im_start|>assistant\n"
MODEL = "self-long/SelfLong-Llama3.1-8B-Instruct"


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows a task at 4k, in two files; the second row has a prediction of one model only."""
    folder = tmp_path_factory.mktemp("download")
    for task in RULER_TASKS:
        for part in range(2):
            row = {
                "index": [part],
                "input": [INPUT],
                "answers": [["7", "eight"]],
                "length": [3990],
                "predictions": [{MODEL: "It is 7.\n", "other": None if part else "EIGHT"}],
            }
            name = f"{task}_4k/validation-0000{part}-of-00002.parquet"
            (folder / name).parent.mkdir(exist_ok=True)
            pl.DataFrame(row).write_parquet(folder / name)
    return folder


def published(length: int) -> PublishedRulerSuite:
    return PublishedRulerSuite(
        kind="published_ruler", models=[], repository="a/x", revision="y", lengths=[length]
    )


def test_every_row_is_a_prompt_with_one_bos(download: Path, smollm2_tokenizer_folder: Path) -> None:
    pretrained = AutoTokenizer.from_pretrained(smollm2_tokenizer_folder)
    found = list(read_prompts(download, [4000], pretrained))
    assert len(found) == 2 * len(RULER_TASKS)
    assert {prompt.task for prompt in found} == set(RULER_TASKS)
    for prompt in found:
        check_bos(prompt, pretrained.bos_token_id)
        assert pretrained.decode(prompt.ids) == INPUT
    budgets = {prompt.task: prompt.answer_tokens for prompt in found}
    assert (budgets["vt"], budgets["niah_multivalue"], budgets["qa_2"]) == (30, 128, 32)


def test_a_bos_that_the_input_lacks_is_put_in_front(
    download: Path, smollm2_tokenizer_folder: Path
) -> None:
    pretrained = AutoTokenizer.from_pretrained(smollm2_tokenizer_folder, bos_token="<|endoftext|>")
    prompt = next(read_prompts(download, [4096], pretrained))
    assert list(prompt.ids[:2]) == [pretrained.bos_token_id, *pretrained.encode("<|im_start|>")]


def test_stored_predictions_are_scored_by_the_tasks_metric(download: Path, tmp_path: Path) -> None:
    suite = published(4000)
    stored = tmp_path / "evaluation" / "published" / "stored.parquet"
    write_stored_predictions(name="published", suite=suite, download=download, output=stored)
    found = read_parquet(stored, PREDICTIONS)
    assert found.group_by("model").len().sort("model")["len"].to_list() == [13, 26]
    means = {task: mean for task, mean in found.group_by("task").agg(pl.col("score").mean()).rows()}
    assert {means[task] for task in ("qa_1", "qa_2")} == {1.0}  # one of the answers is enough
    assert {means[task] for task in RULER_TASKS[:11]} == {0.5}
    scores = stored.with_name("scores.parquet")
    score(
        name="published", suite=suite, predictions=[stored], results=tmp_path, output=scores, seed=1
    )
    rows = read_parquet(scores, SCORES).filter(pl.col("task") == MEAN_OF_TASKS)
    assert dict(rows.select("model", "mean").rows()) == {
        MODEL: pytest.approx((11 * 0.5 + 2) / 13),
        "other": pytest.approx((11 * 0.5 + 2) / 13),
    }
    assert rows["files"].to_list() == [["evaluation/published/stored.parquet"]] * 2


def test_a_missing_set_is_named(download: Path) -> None:
    with pytest.raises(UserError, match="niah_single_1_8k holds no validation"):
        list(stored_predictions(published(8192), "published", download))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "niah_single_1_4k" / "validation-00000-of-00001.parquet"
    path.parent.mkdir()
    pl.DataFrame({"index": [0], "answers": [["7"]]}).write_parquet(path)
    with pytest.raises(UserError, match="column 'predictions' is missing"):
        list(stored_predictions(published(4000), "published", tmp_path))

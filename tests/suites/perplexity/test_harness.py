"""Perplexity of documents: which are read, which tokens count, and that it is what transformers computes."""

import math
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

from selflong.evaluation.evaluate import evaluate
from selflong.evaluation.score import check_scores
from selflong.formats import PREDICTIONS, read_parquet
from selflong.job import UserError
from selflong.recipe.site import RemoteServing
from selflong.suites.perplexity.harness import documents, mean_loss
from selflong.suites.perplexity.section import Perplexity
from selflong.suites.suite_scores import scores_of
from selflong.tokens import Tokenizer
from tests.suites.jobs import job_of

WORDS = "the river runs from the mountains to the sea and the market sells stone"
SUITE = Perplexity(
    kind="perplexity", models=["m"], repository="emozilla/pg19-test", revision="main",
    lengths=[64, 128], scored_tokens=24, documents=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A document that is too short, two of 64 tokens and more, two of 128 and more."""
    folder = tmp_path_factory.mktemp("download")
    texts = [
        " ".join([f"{number}", *[WORDS] * times]) for number, times in enumerate((1, 6, 20, 7, 21))
    ]
    pl.DataFrame({"text": texts, "url": "u"}).write_parquet(folder / "test.parquet")
    return folder


@pytest.fixture(scope="module")
def predictions(download: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("output") / "all.parquet"
    job = job_of("perplexity", SUITE, checkpoint, output.parent, files=[download])
    evaluate(job, output)
    return output


def test_the_first_documents_that_are_long_enough_are_read(
    download: Path, predictions: Path, smollm2_tokenizer: Tokenizer
) -> None:
    found = read_parquet(predictions, PREDICTIONS)
    assert found.select("length", "index").rows() == [(64, 1), (64, 2), (128, 2), (128, 4)]
    assert set(found["precision"]) == {"float32"}
    first = next(documents(SUITE, download, smollm2_tokenizer, 64))
    assert len(first[2]) == 64 and first[2][0] == smollm2_tokenizer.bos_id
    assert first[1].startswith(smollm2_tokenizer.decode(first[2][1:]))


def test_a_score_is_that_of_all_scored_tokens_given_what_stands_before(
    download: Path, predictions: Path, checkpoint: Path, smollm2_tokenizer: Tokenizer
) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float64)
    losses = []
    for _, _, ids in list(documents(SUITE, download, smollm2_tokenizer, 64))[:2]:
        labels = torch.tensor([[-100] * (64 - SUITE.scored_tokens) + ids[-SUITE.scored_tokens :]])
        with torch.no_grad():
            losses.append(float(model(torch.tensor([ids]), labels=labels).loss))
    check_scores(SUITE, predictions)
    found = read_parquet(predictions, PREDICTIONS).filter(pl.col("length") == 64)
    assert found["score"].to_list() == pytest.approx([math.exp(-loss) for loss in losses], rel=1e-5)
    scores = scores_of("perplexity", SUITE, [predictions], predictions.parent, seed=1)
    (row,) = scores.filter(pl.col("length") == 64, pl.col("task") == "mean").rows(named=True)
    assert 1 / row["mean"] == pytest.approx(math.exp(sum(losses) / 2), rel=1e-5)
    assert row["low"] <= row["mean"] <= row["high"]


def test_logits_in_parts_are_the_same_loss(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    ids = [5 + number % 40 for number in range(80)]
    whole = mean_loss(model, ids, 30)
    monkeypatch.setattr("selflong.suites.perplexity.harness.LOGIT_ROWS", 7)
    assert mean_loss(model, ids, 30) == pytest.approx(whole, rel=1e-6)


def test_what_cannot_be_measured_is_said(download: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64 leave nothing before them at 64"):
        Perplexity.model_validate(SUITE.model_dump() | {"scored_tokens": 64})
    longer = SUITE.at([512])
    job = job_of("ppl", longer, checkpoint, tmp_path, files=[download])
    with pytest.raises(UserError, match=r"suites\.ppl\.lengths: none of its documents has 512"):
        evaluate(job, tmp_path / "all.parquet")
    remote = RemoteServing(kind="remote", url="http://x", api_key_variable="X")
    job = job_of("ppl", SUITE, checkpoint, tmp_path, files=[download], serving=remote)
    with pytest.raises(UserError, match="use vllm or transformers"):
        evaluate(job, tmp_path / "all.parquet")

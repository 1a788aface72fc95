"""MRCR from a hub: which samples are asked at which length, and how their answers are scored."""

import json
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.evaluation.evaluate import evaluate
from selflong.evaluation.score import check_scores
from selflong.formats import PREDICTIONS, read_parquet
from selflong.job import UserError
from selflong.suites.mrcr.metric import metric, score
from selflong.suites.mrcr.prompts import read_messages
from selflong.suites.mrcr.section import Mrcr
from selflong.suites.mrcr.texts import texts
from tests.suites.downloads import download_from_hub, parquet
from tests.suites.jobs import job_of

SUITE = Mrcr(
    kind="mrcr", models=["m"], repository="openai/mrcr", revision="main", lengths=[256, 512],
    needles=[2, 4], samples=2, answer_tokens=8,
)  # fmt: skip
ASK = "Prepend {marker} to the 2nd (1 indexed) poem about rain. Do not include any other text."


def sample(needles: int, number: int, words: int) -> dict[str, Any]:
    """A row of the set: so many requests for one piece, answered with so many words each."""
    pieces = [" ".join([f"rain{index}"] * words) for index in range(needles)]
    messages: list[dict[str, str]] = []
    for piece in pieces:
        messages.append({"role": "user", "content": "Write a poem about rain"})
        messages.append({"role": "assistant", "content": piece})
    marker = f"mark{number:06}"
    messages.append({"role": "user", "content": ASK.format(marker=marker)})
    return {
        "prompt": json.dumps(messages),
        "answer": f"{marker}{pieces[1]}",
        "random_string_to_prepend": marker,
        "n_needles": needles,
        "desired_msg_index": 3,
        "total_messages": len(messages),
        "n_chars": sum(len(message["content"]) for message in messages),
    }


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three samples of two needles at 256, three at 512, one too long; one of four and one of eight."""
    two = [sample(2, number, 12 + number) for number in range(3)]
    two += [sample(2, 3 + number, 45 + number) for number in range(3)]
    files = {
        "2needle/2needle_0.parquet": parquet(two),
        "2needle/2needle_1.parquet": parquet([sample(2, 7, 900)]),
        "4needle/4needle_0.parquet": parquet([sample(4, 8, 20)]),
        "8needle/8needle_0.parquet": parquet([sample(8, 9, 5)]),
    }
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("download") / "mrcr"
        return download_from_hub(SUITE.download, files, folder, patch)


def test_a_checkpoint_is_asked_the_samples_of_each_length(
    download: Path, checkpoint: Path, tmp_path: Path
) -> None:
    evaluate(
        job_of("mrcr", SUITE, checkpoint, tmp_path, files=[download]), tmp_path / "all.parquet"
    )
    found = read_parquet(tmp_path / "all.parquet", PREDICTIONS)
    asked = {(row["task"], row["length"], row["index"]) for row in found.iter_rows(named=True)}
    two = {
        ("2 needles", 256, 0),
        ("2 needles", 256, 1),
        ("2 needles", 512, 3),
        ("2 needles", 512, 4),
    }
    assert asked == two | {("4 needles", 512, 0)}
    assert found["depth"].to_list() == [3 / 5] * 4 + [3 / 9]
    for row in found.iter_rows(named=True):
        answer, marker = row["answers"]
        assert answer.startswith(marker)
        assert row["prompt"].count("<|im_start|>user") == (5 if row["task"] == "4 needles" else 3)
        assert f"Prepend {marker} to" in row["prompt"]
        assert row["prompt_tokens"] <= row["length"]
    check_scores(SUITE, tmp_path / "all.parquet")


def test_its_texts_are_the_pieces_and_the_questions(download: Path) -> None:
    found = list(texts(SUITE, download))
    assert len(found) == len(set(found))
    assert sum(name == "question" for name, _ in found) == 9
    assert [text for name, text in found if name == "haystack/user"] == ["Write a poem about rain"]
    assert sum(name == "haystack/assistant" for name, _ in found) == 2 * 7 + 4 + 8


def test_a_conversation_that_is_none_is_named(tmp_path: Path) -> None:
    for text in ("no JSON", '[{"role": "user"}]', "3"):
        with pytest.raises(UserError, match="no JSON list of messages"):
            list(read_messages(text, tmp_path))


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.text(min_size=1, max_size=5))
def test_the_marker_must_stand_first_and_does_not_count(
    said: str, wanted: str, marker: str
) -> None:
    answers = (marker + wanted, marker)
    assert score(marker + said, answers) == SequenceMatcher(None, said, wanted).ratio()
    assert score(marker + wanted, answers) == 1.0
    if not said.startswith(marker):
        assert metric("2 needles")(said, answers) == 0.0

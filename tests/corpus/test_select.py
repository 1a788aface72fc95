"""Filters, duplicates and the sample: the same for any number of parts, and each drop counted."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selflong.corpus.select import scan, select, write
from selflong.corpus.stretches import SOURCE_FILE, collect
from selflong.formats import (
    CORPUS_OVERLAPS,
    DOCUMENTS,
    DROPS,
    EVALUATION_TEXTS,
    TOKEN_COUNTS,
    read_parquet,
    table,
    write_parquet,
)
from selflong.job import UserError
from selflong.recipe.corpus import Corpus
from selflong.recipe.loading import parse
from selflong.sources.documents.folder import FolderDocuments
from selflong.tokens import Tokenizer

QUESTION = (
    "which river flows through the old town that the merchants of the north founded nine hundred "
    "years ago on two islands"
)


def corpus(**settings_: Any) -> Corpus:
    content = {"sources": [{"kind": "folder", "path": "unused"}], "shards": 1, **settings_}
    return parse(Corpus, content, "recipe")


def write_source(folder: Path, rows: list[dict[str, Any]], files: int = 1) -> Path:
    """Rows as a local folder of parquet and JSON lines in turn, collected; its source.json."""
    origin = folder / "origin"
    origin.mkdir(parents=True)
    for number in range(files):
        first, last = (cut * len(rows) // files for cut in (number, number + 1))
        if number % 2 == 0:
            frame = pl.DataFrame(rows[first:last], schema_overrides={"score": pl.Float64})
            frame.write_parquet(origin / f"{number}.parquet")
        else:
            lines = [json.dumps(row, ensure_ascii=False) for row in rows[first:last]]
            (origin / f"{number}.jsonl").write_text("".join(line + "\n" for line in lines))
    collect(FolderDocuments(kind="folder", path=origin, files="*"), folder, "UNUSED")
    return folder / SOURCE_FILE


def run(
    folder: Path, sources: list[Path], settings_: Corpus, parts: int, tokenizer: Tokenizer
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The whole stage: documents, token counts and drops."""
    evaluation = folder / "evaluation.parquet"
    texts = [{"suite": "ruler", "name": "qa_1", "text": QUESTION}]
    write_parquet(table(texts, EVALUATION_TEXTS), evaluation, EVALUATION_TEXTS)
    notes, selections, documents, counts, overlaps = (
        [folder / name / f"{part}.parquet" for part in range(parts)]
        for name in ("notes", "selection", "documents", "token_counts", "overlaps")
    )
    for part in range(parts):
        scan(
            sources=sources,
            part=part,
            parts=parts,
            corpus=settings_,
            seed=1,
            tokenizer=tokenizer,
            evaluation_texts=evaluation,
            notes=notes[part],
            overlaps=overlaps[part],
        )
    select(
        notes=notes,
        filters=settings_.filters,
        sample=settings_.sample,
        outputs=selections,
        drops=folder / "drops.parquet",
    )
    for part in range(parts):
        write(
            sources=sources,
            part=part,
            parts=parts,
            selection=selections[part],
            documents=documents[part],
            token_counts=counts[part],
        )
    return (
        pl.concat([read_parquet(path, DOCUMENTS) for path in documents]),
        pl.concat([read_parquet(path, TOKEN_COUNTS) for path in counts]),
        read_parquet(folder / "drops.parquet", DROPS),
    )


def reasons(drops: pl.DataFrame) -> dict[str, int]:
    return {row["reason"]: row["rows"] for row in drops.iter_rows(named=True)}


WORDS = st.sampled_from(["river", "stone", "Grüße", "日本", "<|im_end|>", "a\nb", "  "])
TEXTS = st.lists(WORDS, min_size=0, max_size=12).map(" ".join)
ROWS = st.lists(
    st.tuples(st.integers(0, 40), TEXTS, st.sampled_from(["en", "de", None])),
    min_size=1,
    max_size=40,
).map(
    lambda rows: [
        {"id": f"<urn:{number}>", "text": text, "language": language, "score": float(number)}
        for number, text, language in rows
    ]
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=ROWS,
    files=st.integers(1, 4),
    parts=st.integers(2, 6),
    sample=st.none() | st.integers(1, 12),
)
def test_any_number_of_parts_gives_the_same_documents_in_the_same_order(
    smollm2_tokenizer: Tokenizer,
    rows: list[dict[str, Any]],
    files: int,
    parts: int,
    sample: int | None,
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        sources = [write_source(folder / "source", rows, files)]
        settings_ = corpus(sample=sample, filters={"minimum_tokens": 2})
        whole = run(folder / "one", sources, settings_, 1, smollm2_tokenizer)
        split = run(folder / "many", sources, settings_, parts, smollm2_tokenizer)
    for one, many in zip(whole, split, strict=True):
        assert one.equals(many)
    documents, counts, drops = whole
    assert documents["id"].equals(counts["id"])
    assert counts["tokens"].to_list() == smollm2_tokenizer.count_many(documents["text"]).tolist()
    assert drops["rows"].sum() == len(rows)
    assert drops["tokens"].sum() == sum(smollm2_tokenizer.count(row["text"]) for row in rows)
    assert documents["text"].is_unique().all()
    assert documents["id"].is_unique().all()


def documents_of(count: int, **columns: Any) -> list[dict[str, Any]]:
    return [
        {"id": f"d{number}", "text": f"document number {number} of them", "score": 3.0, **columns}
        for number in range(count)
    ]


def test_smaller_sample_is_part_of_a_larger_one(
    tmp_path: Path, smollm2_tokenizer: Tokenizer
) -> None:
    sources = [write_source(tmp_path / "source", documents_of(300))]
    kept = {
        size: set(
            run(tmp_path / str(size), sources, corpus(sample=size), 2, smollm2_tokenizer)[0]["id"]
        )
        for size in (50, 120)
    }
    assert [len(ids) for ids in kept.values()] == [50, 120]
    assert kept[50] < kept[120]


def test_sample_does_not_depend_on_which_file_a_document_is_in(
    tmp_path: Path, smollm2_tokenizer: Tokenizer
) -> None:
    rows = documents_of(200)
    kept = []
    for number, order in enumerate((rows, rows[::-1])):
        sources = [write_source(tmp_path / f"source{number}", order, files=3)]
        found = run(tmp_path / str(number), sources, corpus(sample=40), 3, smollm2_tokenizer)
        kept.append(set(found[0]["id"]))
    assert kept[0] == kept[1]


def test_each_reason_is_counted(tmp_path: Path, smollm2_tokenizer: Tokenizer) -> None:
    good = {"language": "en", "language_score": 0.9, "score": 3.0}
    rows = [
        {**good, "id": "kept", "text": "a document that passes every filter there is"},
        {**good, "id": "empty", "text": " \n"},
        {**good, "id": "german", "text": "ein deutsches Dokument", "language": "de"},
        {**good, "id": "unknown", "text": "of no known language", "language": None},
        {**good, "id": "unsure", "text": "perhaps it is English text", "language_score": 0.2},
        {**good, "id": "poor", "text": "a document of a low score", "score": 1.0},
        {**good, "id": "short", "text": "short"},
        {**good, "id": "long", "text": "long " * 60},
        {**good, "id": "kept", "text": "another document with an id that is taken"},
        {**good, "id": "twin 1", "text": "this text stands in the corpus twice"},
        {**good, "id": "twin 2", "text": "this text stands in the corpus twice"},
        {**good, "id": "leak", "text": f"Question: {QUESTION.upper()}?"},
    ]
    sources = [write_source(tmp_path / "source", rows)]
    filters = {
        "language": "en",
        "minimum_language_score": 0.5,
        "minimum_score": 2.0,
        "minimum_tokens": 3,
        "maximum_tokens": 50,
    }
    settings_ = corpus(filters=filters, evaluation_overlap="remove")
    _, _, drops = run(tmp_path / "run", sources, settings_, 2, smollm2_tokenizer)
    assert reasons(drops) == {
        "kept": 2,
        "empty": 1,
        "language": 2,
        "language score": 1,
        "score": 1,
        "too short": 1,
        "too long": 1,
        "evaluation overlap": 1,
        "duplicate id": 1,
        "duplicate text": 1,
    }
    tokens = Counter[str]()
    for row in drops.iter_rows(named=True):
        tokens[row["source"]] += row["tokens"]
    assert tokens == {"origin": sum(smollm2_tokenizer.count(row["text"]) for row in rows)}


def test_overlap_is_reported_and_kept_unless_the_recipe_removes_it(
    tmp_path: Path, smollm2_tokenizer: Tokenizer
) -> None:
    rows = [*documents_of(3), {"id": "leak", "text": f"Well, {QUESTION}!", "score": 3.0}]
    sources = [write_source(tmp_path / "source", rows)]
    documents, _, _ = run(tmp_path / "run", sources, corpus(), 1, smollm2_tokenizer)
    assert "leak" in documents["id"]
    (hit,) = read_parquet(tmp_path / "run/overlaps/0.parquet", CORPUS_OVERLAPS).to_dicts()
    assert (hit["document_id"], hit["suite"], hit["name"]) == ("leak", "ruler", "qa_1")
    assert hit["share"] == 1.0
    assert hit["excerpt"].startswith("which river flows")


def test_duplicates_stay_where_the_recipe_keeps_them(
    tmp_path: Path, smollm2_tokenizer: Tokenizer
) -> None:
    rows = [{"id": f"d{number}", "text": "the same text", "score": 1.0} for number in range(3)]
    sources = [write_source(tmp_path / "source", rows)]
    settings_ = corpus(filters={"drop_exact_duplicates": False})
    assert len(run(tmp_path / "run", sources, settings_, 1, smollm2_tokenizer)[0]) == 3


def test_filter_on_a_column_that_no_document_has_is_refused(
    tmp_path: Path, smollm2_tokenizer: Tokenizer
) -> None:
    rows = [{"id": "d", "text": "without a language", "score": 1.0}]
    sources = [write_source(tmp_path / "source", rows)]
    with pytest.raises(UserError, match="no document has a language, by which the recipe filters"):
        run(tmp_path / "run", sources, corpus(filters={"language": "en"}), 1, smollm2_tokenizer)


@pytest.mark.parametrize("rows", [3, 4096, 4097])
def test_a_document_without_a_score_is_dropped_for_that(
    tmp_path: Path, smollm2_tokenizer: Tokenizer, rows: int
) -> None:
    documents = [
        {"id": f"d{number}", "text": f"text {number}", "score": None if number == rows - 1 else 3.0}
        for number in range(rows)
    ]
    sources = [write_source(tmp_path / "source", documents)]
    settings_ = corpus(filters={"minimum_score": 1.0})
    kept, _, drops = run(tmp_path / "run", sources, settings_, 2, smollm2_tokenizer)
    assert len(kept) == rows - 1
    assert drops.filter(pl.col("reason") == "score")["rows"].to_list() == [1]


def test_source_that_changed_after_the_scan_is_refused(
    tmp_path: Path, smollm2_tokenizer: Tokenizer
) -> None:
    sources = [write_source(tmp_path / "source", documents_of(5))]
    run(tmp_path / "run", sources, corpus(), 1, smollm2_tokenizer)
    changed = pl.DataFrame(documents_of(5)[::-1])
    changed.write_parquet(tmp_path / "source/origin/0.parquet")
    with pytest.raises(UserError, match="changed since it was scanned"):
        write(
            sources=sources,
            part=0,
            parts=1,
            selection=tmp_path / "run/selection/0.parquet",
            documents=tmp_path / "documents.parquet",
            token_counts=tmp_path / "token_counts.parquet",
        )
    assert not (tmp_path / "documents.parquet").exists()


def test_no_document_for_a_part_is_an_empty_shard(
    tmp_path: Path, smollm2_tokenizer: Tokenizer
) -> None:
    sources = [write_source(tmp_path / "source", documents_of(1))]
    documents, counts, _ = run(tmp_path / "run", sources, corpus(), 4, smollm2_tokenizer)
    assert len(documents) == len(counts) == 1


def test_nothing_half_written_is_left(tmp_path: Path, smollm2_tokenizer: Tokenizer) -> None:
    sources = [write_source(tmp_path / "source", documents_of(5))]
    run(tmp_path / "run", sources, corpus(), 2, smollm2_tokenizer)
    assert not list(tmp_path.rglob("*partial*"))

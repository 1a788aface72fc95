"""How the files of a source are divided into parts and read."""

from pathlib import Path

import polars as pl
import pytest

from selflong.corpus.stretches import (
    SOURCE_FILE,
    collect,
    read,
    stretches,
)
from selflong.formats import DOCUMENTS
from selflong.job import UserError
from selflong.sources.documents.folder import FolderDocuments


def folder_source(path: Path, files: str = "*") -> FolderDocuments:
    return FolderDocuments(kind="folder", path=path, files=files)


def test_stretches_cover_each_document_once_in_order(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    rows = pl.DataFrame(
        {"id": [f"d{n}" for n in range(100)], "text": ["x" * n for n in range(100)]}
    )
    rows.head(37).write_parquet(origin / "a.parquet", row_group_size=5)
    rows.slice(37, 50).write_ndjson(origin / "b.jsonl")
    rows.tail(13).write_parquet(origin / "c.parquet")
    collect(folder_source(origin), tmp_path, "UNUSED")
    for parts in (1, 2, 3, 7, 50, 300):
        found = [
            batch["id"]
            for part in range(parts)
            for stretch in stretches([tmp_path / SOURCE_FILE], part, parts)
            for batch in read(stretch, ["id", "text"])
        ]
        assert pl.concat(found).to_list() == rows["id"].to_list()


def test_columns_that_a_file_lacks_are_null(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    pl.DataFrame({"id": ["a"], "text": ["b"], "score": [1]}).write_parquet(origin / "a.parquet")
    collect(folder_source(origin), tmp_path, "UNUSED")
    (stretch,) = stretches([tmp_path / SOURCE_FILE], 0, 1)
    (batch,) = read(stretch, list(DOCUMENTS))
    assert dict(batch.schema) == DOCUMENTS
    assert batch.row(0, named=True)["score"] == 1.0
    assert batch.row(0, named=True)["url"] is None


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.parquet", b"not parquet", "not a parquet file"),
        ("a.csv", b"id,text", "must be .parquet or .jsonl"),
        ("a.jsonl", b'{"id": "a", "text": \n', "not JSON lines"),
        ("a.jsonl", b'{"id": "a"}\n', "column 'text' is missing"),
        ("a.jsonl", b'{"id": "a", "text": "caf\xe9"}\n', "not UTF-8"),
        ("a.jsonl", b'{"id": "a", "text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "JSON"),
        ("a.jsonl", b"[1]\n", "must hold objects"),
        ("a.jsonl", b'{"id": "a", "text": "b", "score": "high"}\n', "score"),
    ],
)
def test_bad_file_is_named_in_a_sentence(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / name).write_bytes(content)

    def read_all() -> None:
        collect(folder_source(origin), tmp_path, "UNUSED")
        for stretch in stretches([tmp_path / SOURCE_FILE], 0, 1):
            list(read(stretch, ["id", "text", "score"]))

    with pytest.raises(UserError, match=sentence) as caught:
        read_all()
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file matches"):
        collect(folder_source(tmp_path, "*.parquet"), tmp_path / "out", "UNUSED")


def test_half_a_surrogate_pair_becomes_the_replacement_character(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    lines = [r'{"id": "a", "text": "bad \ud83d end"}', r'{"id": "b", "text": "\ud83d\ude00"}']
    (origin / "a.jsonl").write_text("\n".join(lines) + "\n")
    collect(folder_source(origin), tmp_path, "UNUSED")
    (stretch,) = stretches([tmp_path / SOURCE_FILE], 0, 1)
    (batch,) = read(stretch, ["id", "text"])
    assert batch["text"].to_list() == ["bad \ufffd end", "\U0001f600"]

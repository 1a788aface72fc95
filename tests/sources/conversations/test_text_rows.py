"""Plain text in files: each format reads the same; rows are chosen, joined, rejected."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from selflong.job import UserError
from selflong.sources.conversations.rows import Document, Rejected, Row
from selflong.sources.conversations.text_folder import FolderText

RECORDS: list[dict[str, Any]] = [
    {"text": "first", "repo": "a", "meta": {"set": "Book"}},
    {"text": "second", "repo": "b", "meta": {"set": "ArXiv"}},
    {"text": " ", "repo": "a", "meta": {"set": "Book"}},
    {"text": "fourth\u2028line", "repo": "a", "meta": {"set": "Book"}},
]
LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)


def rows_of(folder: Path, **settings: Any) -> list[Row]:
    source = FolderText(kind="text_folder", path=folder, files="*", **settings)
    assert source.size().tokens > 0
    chunks = source.chunks(source.input_files([folder]))
    return [row for chunk in chunks for row in source.read("text", chunk)]


def write(folder: Path, name: str) -> None:
    path = folder / name
    if name.endswith(".parquet"):
        pl.DataFrame(RECORDS).write_parquet(path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(LINES.encode()))
    elif name.endswith(".zst"):
        path.write_bytes(pa.compress(LINES.encode(), codec="zstd", asbytes=True))
    else:
        path.write_text(LINES)


FORMATS = pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.zst", "a.jsonl.gz"])


@FORMATS
def test_each_format_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    found = rows_of(tmp_path, where={"meta.set": "Book"})
    assert [getattr(row, "text", getattr(row, "reason", None)) for row in found] == [
        "first", "other_rows", "no_text", "fourth\u2028line",
    ]  # fmt: skip
    assert [row.sample_id.rpartition(":")[2] for row in found] == ["0", "1", "2", "3"]


@FORMATS
def test_rows_of_a_repository_are_one_document(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    found = rows_of(tmp_path, joined_by="repo")
    texts = [row.text for row in found if isinstance(row, Document)]
    assert texts == ["first\nfourth\u2028line", "second"]
    assert [row.reason for row in found if isinstance(row, Rejected)] == ["no_text"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "line 1 is not JSON"),
        ("[]", "line 1 must hold an object"),
        ('{"title": "x"}', "column 'text' is missing; there are \\['title'\\]"),
        ("\xff", "cannot be read as lines of UTF-8"),
    ],
)
def test_mistakes_are_sentences(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=sentence):
        rows_of(tmp_path)

"""What packages and folders carry, and how a source is divided into parts."""

from pathlib import Path

import polars as pl
import pytest

from selflong.corpus.sources import (
    DOCUMENTED_PACKAGES,
    READERS,
    SOURCE_FILE,
    collect,
    read,
    stretches,
)
from selflong.formats import DOCUMENTS, read_parquet
from selflong.job import UserError
from selflong.sources.documents.folder import FolderDocuments
from selflong.sources.documents.package import PackageDocuments


def package(reader: str, maximum: int | None = None) -> PackageDocuments:
    return PackageDocuments.model_validate(
        {"kind": "package", "reader": reader, "licence": "test", "maximum_documents": maximum}
    )


def folder_source(path: Path, files: str = "*") -> FolderDocuments:
    return FolderDocuments(kind="folder", path=path, files=files)


@pytest.mark.parametrize(
    ("reader", "maximum", "documents", "characters"),
    [
        ("speeches", None, 249, 10_000_000),
        ("countries", None, 256, 5_000_000),
        ("encyclopedia", 40, 40, 700_000),
        ("documentation", 30, 30, 100_000),
    ],
)
def test_packages_carry_free_text(
    tmp_path: Path, reader: str, maximum: int | None, documents: int, characters: int
) -> None:
    collect(package(reader, maximum), tmp_path, "UNUSED")
    found = read_parquet(tmp_path / f"{reader}.parquet", DOCUMENTS)
    assert len(found) == documents
    assert found["id"].is_unique().all()
    assert found["text"].str.len_chars().sum() > characters
    assert found["language"].unique().to_list() == ["en"]
    # What readers must have taken away: tags, templates and links of the markup.
    remains = found["text"].str.contains(r"<p>|<br|\{\{|\[\[|&nbsp;|<ref")
    assert remains.mean() < 0.15 or reader == "documentation"


def test_speeches_are_whole_and_dated() -> None:
    first = next(READERS["speeches"]())
    assert first["id"] == "speeches:1790-Washington-1"
    assert first["text"].startswith("George Washington, State of the Union, 1790-01-08\n\n")
    assert "Fellow-Citizens of the Senate and House" in first["text"]


def test_encyclopedia_has_no_lists_of_references() -> None:
    article = next(READERS["encyclopedia"]())
    assert article["text"].startswith("Anarchism\n\nAnarchism is a political philosophy")
    assert "Category:" not in article["text"]
    assert "\nExternal links" not in article["text"]


def test_documentation_is_a_fixed_draw_from_fixed_packages(tmp_path: Path) -> None:
    collect(package("documentation", 40), tmp_path / "a", "UNUSED")
    collect(package("documentation", 20), tmp_path / "b", "UNUSED")
    longer, shorter = (
        read_parquet(tmp_path / name / "documentation.parquet", DOCUMENTS) for name in "ab"
    )
    assert longer.head(20).equals(shorter)
    packages = {name.removeprefix("documentation:").partition(".")[0] for name in longer["id"]}
    assert packages <= set(DOCUMENTED_PACKAGES)
    assert len(packages) > 3


def test_collected_twice_is_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        collect(package("countries"), tmp_path / name, "UNUSED")
    assert (tmp_path / "a/countries.parquet").read_bytes() == (
        tmp_path / "b/countries.parquet"
    ).read_bytes()


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

"""What packages carry."""

from pathlib import Path

import pytest

from selflong.formats import DOCUMENTS, read_parquet
from selflong.sources.documents.package import PackageDocuments
from selflong.sources.documents.packages import READERS
from selflong.sources.documents.packages.documentation import DOCUMENTED_PACKAGES


def package(reader: str, maximum: int | None = None) -> PackageDocuments:
    return PackageDocuments.model_validate(
        {"kind": "package", "reader": reader, "licence": "test", "maximum_documents": maximum}
    )


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
    package(reader, maximum).fetch(tmp_path, "UNUSED")
    found = read_parquet(tmp_path / f"{reader}.parquet", DOCUMENTS)
    assert len(found) == documents
    assert found["id"].is_unique().all()
    assert found["text"].str.len_chars().sum() > characters
    assert found["language"].unique().to_list() == ["en"]
    # What readers must have taken away: tags, templates and links of the markup.
    remains = found["text"].str.contains(r"<p>|<br|\{\{|\[\[|&nbsp;|<ref")
    assert remains.mean() < 0.15 or reader == "documentation"


def test_speeches_are_whole_and_dated() -> None:
    first = next(READERS["speeches"].read())
    assert first["id"] == "speeches:1790-Washington-1"
    assert first["text"].startswith("George Washington, State of the Union, 1790-01-08\n\n")
    assert "Fellow-Citizens of the Senate and House" in first["text"]


def test_encyclopedia_has_no_lists_of_references() -> None:
    article = next(READERS["encyclopedia"].read())
    assert article["text"].startswith("Anarchism\n\nAnarchism is a political philosophy")
    assert "Category:" not in article["text"]
    assert "\nExternal links" not in article["text"]


def test_documentation_is_a_fixed_draw_from_fixed_packages(tmp_path: Path) -> None:
    package("documentation", 40).fetch(tmp_path / "a", "UNUSED")
    package("documentation", 20).fetch(tmp_path / "b", "UNUSED")
    longer, shorter = (
        read_parquet(tmp_path / name / "documentation.parquet", DOCUMENTS) for name in "ab"
    )
    assert longer.head(20).equals(shorter)
    packages = {name.removeprefix("documentation:").partition(".")[0] for name in longer["id"]}
    assert packages <= set(DOCUMENTED_PACKAGES)
    assert len(packages) > 3


def test_collected_twice_is_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        package("countries").fetch(tmp_path / name, "UNUSED")
    assert (tmp_path / "a/countries.parquet").read_bytes() == (
        tmp_path / "b/countries.parquet"
    ).read_bytes()

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from selflong.formats import DOCUMENTS, table, write_parquet
from selflong.job import UserError
from selflong.synthesis.documents import DocumentDraw, read_texts


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Ten documents in three shards, one of them empty."""
    rows = [{"id": f"d{number}", "text": f"Text {number}."} for number in range(10)]
    parts = [rows[:3], [], rows[3:]]
    paths = [tmp_path / f"{number}.parquet" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        write_parquet(table(part, DOCUMENTS), path, DOCUMENTS)
    return paths


def test_texts_are_found_in_any_shard(shards: list[Path]) -> None:
    assert read_texts(shards, ["d9", "d0", "d0"]) == {"d0": "Text 0.", "d9": "Text 9."}
    assert read_texts(shards, []) == {}


def test_an_unknown_document_is_named(shards: list[Path]) -> None:
    with pytest.raises(UserError, match="'elsewhere'"):
        read_texts(shards, ["d1", "elsewhere"])


def test_every_document_is_drawn_alike(shards: list[Path]) -> None:
    draw = DocumentDraw(shards)
    assert draw.read(range(10)) == {n: (f"d{n}", f"Text {n}.") for n in range(10)}
    random = Random(0)
    counts = Counter(draw.row(random) for _ in range(5000))
    assert set(counts) == set(range(10))
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_an_empty_corpus_is_refused(shards: list[Path]) -> None:
    with pytest.raises(UserError, match="no document"):
        DocumentDraw(shards[1:2])

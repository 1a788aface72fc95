import re
from collections import Counter
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.formats import DOCUMENTS, TOKEN_COUNTS, table, write_parquet
from selflong.job import UserError
from selflong.synthesis import documents
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


@pytest.fixture
def token_counts(tmp_path: Path) -> list[Path]:
    """Of the same shards: document n has n tokens."""
    rows = [{"id": f"d{number}", "tokens": number} for number in range(10)]
    parts = [rows[:3], [], rows[3:]]
    paths = [tmp_path / f"counts-{number}.parquet" for number in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        write_parquet(table(part, TOKEN_COUNTS), path, TOKEN_COUNTS)
    return paths


def test_texts_are_found_in_any_shard(shards: list[Path]) -> None:
    assert read_texts(shards, ["d9", "d0", "d0"]) == {"d0": "Text 0.", "d9": "Text 9."}
    assert read_texts(shards, []) == {}


def test_an_unknown_document_is_named(shards: list[Path]) -> None:
    with pytest.raises(UserError, match="'elsewhere'"):
        read_texts(shards, ["d1", "elsewhere"])


def test_every_document_is_drawn_alike(shards: list[Path], token_counts: list[Path]) -> None:
    draw = DocumentDraw(shards, token_counts)
    assert draw.read(range(10)) == {n: (f"d{n}", f"Text {n}.") for n in range(10)}
    random = Random(0)
    counts = Counter(draw.row(random, 9) for _ in range(5000))
    assert set(counts) == set(range(10))
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_a_document_that_is_too_long_is_not_drawn(
    shards: list[Path], token_counts: list[Path]
) -> None:
    draw = DocumentDraw(shards, token_counts)
    random = Random(0)
    assert {draw.row(random, 4) for _ in range(200)} == set(range(5))
    with pytest.raises(UserError, match=r"at most -1 tokens.*lengths\.minimum"):
        draw.row(random, -1)


def test_an_empty_corpus_is_refused(shards: list[Path], token_counts: list[Path]) -> None:
    with pytest.raises(UserError, match="no document"):
        DocumentDraw(shards[1:2], token_counts[1:2])


TEXTS = st.lists(st.text("Ab c", max_size=12), min_size=1, max_size=8)
NAMES = st.dictionaries(st.text("Ab c", min_size=1, max_size=3), st.integers(0, 12), max_size=4)


@settings(deadline=None, max_examples=40)
@given(TEXTS, NAMES, st.integers(0, 8))
def test_documents_are_found_by_the_names_in_them(
    texts: list[str], longest: dict[str, int], cut: int
) -> None:
    """Of names that begin at the same place in a text the longest one counts."""
    with TemporaryDirectory() as folder:
        paths = []
        for number, part in enumerate((texts[:cut], texts[cut:])):
            rows = [{"id": f"{number}-{place}", "text": text} for place, text in enumerate(part)]
            counts = [{"id": row["id"], "tokens": len(row["text"])} for row in rows]
            paths.append([Path(folder, f"{name}-{number}") for name in ("documents", "counts")])
            write_parquet(table(rows, DOCUMENTS), paths[-1][0], DOCUMENTS)
            write_parquet(table(counts, TOKEN_COUNTS), paths[-1][1], TOKEN_COUNTS)
        found = DocumentDraw(*zip(*paths, strict=True)).naming(longest)
    pattern = re.compile("|".join(map(re.escape, sorted(longest, key=len, reverse=True))) or "(?!)")
    mentions = [Counter(pattern.findall(text)) for text in texts]
    for name, most in longest.items():
        rows = [
            row for row, counted in enumerate(mentions) if counted[name] and len(texts[row]) <= most
        ]
        assert found.get(name, []) == sorted(rows, key=lambda row: -mentions[row][name])


def test_of_a_common_name_those_that_say_it_most_often_are_kept(
    shards: list[Path], token_counts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "NAMING", 3)
    draw = DocumentDraw(shards, token_counts)
    assert draw.naming({"Text": 5, "7": 9, "x": 9}) == {"Text": [0, 1, 2], "7": [7]}
    assert draw.naming({}) == {}

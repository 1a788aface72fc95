"""Reads what mosaicml-streaming wrote (mds/README.md says what is in it)."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selflong.job import UserError
from selflong.mixture.render import Prepared, _sequence, packed_loss_tokens
from selflong.sources.conversations.mds import HubTokens, _bounds
from selflong.sources.conversations.mds_format import MdsFolder
from selflong.sources.conversations.rows import Chunk, Rejected, Sequence
from selflong.tokens import Tokenizer
from selflong.training.loss import target_mask
from tests.mds import write_mds

FOLDER = Path(__file__).parent / "mds" / "book-1024"


def test_every_row_of_every_shard() -> None:
    folder = MdsFolder(FOLDER)
    assert len(folder) == 24
    for number in range(24):
        row = folder[number]
        length = 50 + 13 * number
        assert row["input_ids"].dtype == np.uint32
        assert row["input_ids"].tolist() == [(7 * i + number) % 40000 for i in range(length)]
        assert row["indices"].tolist() == [[0, 20], [20, length]]
        assert row["grid"].dtype == np.int64
        assert row["grid"].tolist() == [[number] * 3] * 2
        assert row["mixed"].dtype == np.float32
        assert row["mixed"].tolist() == list(range(number + 1))
    with pytest.raises(IndexError):
        folder[24]


def test_compressed_rows_are_those_of_the_same_rows_uncompressed(tmp_path: Path) -> None:
    compressed, plain = MdsFolder(FOLDER.with_name("book-1024-zstd")), MdsFolder(FOLDER)
    assert not list(compressed.path.glob("*.mds"))
    assert len(compressed) == len(plain)
    for row in [23, *range(24)]:
        assert set(compressed[row]) == set(plain[row])
        for name, values in compressed[row].items():
            assert values.dtype == plain[row][name].dtype
            assert values.tolist() == plain[row][name].tolist()
    copy = tmp_path / "copy"
    shutil.copytree(compressed.path, copy)
    first = next(iter(sorted(copy.glob("*.zstd"))))
    first.write_bytes(first.read_bytes()[:-20])
    with pytest.raises(UserError, match="cannot be decompressed"):
        MdsFolder(copy)[0]


def test_damage_is_named(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(FOLDER, copy)
    (copy / "shard.00004.mds").unlink()
    with pytest.raises(UserError, match=r"shard\.00004\.mds is missing"):
        MdsFolder(copy)[23]
    whole = (copy / "shard.00003.mds").read_bytes()
    (copy / "shard.00003.mds").write_bytes(whole[:-10])
    last = sum(
        shard["samples"] for shard in json.loads((copy / "index.json").read_text())["shards"][:4]
    )
    with pytest.raises(UserError, match="shorter than it says"):
        MdsFolder(copy)[last - 1]
    (copy / "index.json").write_text(
        (copy / "index.json").read_text().replace('null, "f', '"snappy", "f')
    )
    with pytest.raises(UserError, match="snappy is none of zstd"):
        MdsFolder(copy)
    (copy / "index.json").write_text("{")
    with pytest.raises(UserError, match="no index"):
        MdsFolder(copy)


@pytest.mark.parametrize("name", ["../outside.mds", "/etc/passwd", "a/b.mds", "..", ".", "", "a\0"])
def test_no_shard_outside_of_the_folder_is_read(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    shutil.copytree(FOLDER, inside)
    shutil.copy(FOLDER / "shard.00000.mds", tmp_path / "outside.mds")
    index = json.loads((inside / "index.json").read_text())
    index["shards"][0]["raw_data"]["basename"] = name
    (inside / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"is no index of MDS shards|is missing"):
        MdsFolder(inside)[0]


def _rows_of(folder: Path, rows: int) -> list[Any]:
    chunk = Chunk(folder / "shard.00000.mds", 0, rows, 0, "shard.00000.mds")
    source = HubTokens(
        kind="mds", repository="a/b", revision="main", files="**", tokenizer="m", rows=1, tokens=1
    )
    return list(source.read("entry", chunk))


def test_a_mask_says_what_the_loss_counts(tmp_path: Path, smollm2_tokenizer: Tokenizer) -> None:
    mask = np.array([0, 0, 1, 1, 0, 0, 0, 1, 1, 0], np.uint8)
    write_mds(
        tmp_path / "m",
        [
            {"input_ids": np.arange(10, dtype=np.uint32), "mask": mask},
            {"input_ids": np.arange(10, dtype=np.uint32), "mask": np.zeros(10, np.uint8)},
        ],
    )
    masked, nothing = (_sequence(row, smollm2_tokenizer) for row in _rows_of(tmp_path / "m", 2))
    assert isinstance(masked, Prepared)
    targets = target_mask(masked.rendered.roles, 0, [0, 10], [masked.kind], mask_prompt=False)
    assert targets.tolist() == mask.astype(bool).tolist()
    assert packed_loss_tokens(masked.kind, masked.rendered.roles, masked.documents) == 4
    assert isinstance(nothing, Rejected) and nothing.reason == "nothing_to_learn"


def test_a_row_is_whole_or_its_documents() -> None:
    source = HubTokens(
        kind="mds", repository="a/b", revision="main", files="**", tokenizer="m", rows=1, tokens=1
    )
    (chunk,) = source.chunks(source.input_files([FOLDER]))
    rows = list(source.read("entry", chunk))
    assert len(rows) == 24
    for number, row in enumerate(rows):
        assert isinstance(row, Sequence)
        assert row.sample_id == f"entry/book-1024:{number}"
        first, second = row.documents
        assert (first.sample_id, second.sample_id) == (f"{row.sample_id}:0", f"{row.sample_id}:1")
        assert first.ids.tolist() + second.ids.tolist() == row.ids.tolist()
        assert len(first.ids) == 20


def test_single_tokens_and_what_lies_between_documents_are_left_out(
    smollm2_tokenizer: Tokenizer,
) -> None:
    row = Sequence(
        "row",
        np.arange(10, dtype=np.uint32),
        np.arange(10) % 3 == 0,
        np.array([[0, 3], [3, 4], [6, 10]]),
    )
    kept = _sequence(row, smollm2_tokenizer)
    assert isinstance(kept, Prepared)
    assert kept.rendered.ids.tolist() == [0, 1, 2, 6, 7, 8, 9]
    assert kept.documents == (3, 4)
    assert (
        packed_loss_tokens(kept.kind, kept.rendered.roles, kept.documents) == 1
    )  # 9; 0, 6 are first


@pytest.mark.parametrize("indices", [[[0, 11]], [[4, 2]], [[0, 6], [5, 10]], [0, 10]])
def test_documents_outside_of_their_row_are_named(tmp_path: Path, indices: list[Any]) -> None:
    record = {"indices": np.array(indices, np.uint32)}
    with pytest.raises(UserError, match="indices must be pairs that rise from 0 to 10"):
        _bounds(record, 10, "a/shard: row 3")


def test_a_mask_of_another_length_is_named(tmp_path: Path) -> None:
    row = {"input_ids": np.arange(10, dtype=np.uint32), "mask": np.ones(9, np.uint8)}
    write_mds(tmp_path / "m", [row])
    with pytest.raises(UserError, match="row 0: mask has the shape"):
        _rows_of(tmp_path / "m", 1)

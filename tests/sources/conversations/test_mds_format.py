"""Reads what mosaicml-streaming wrote (mds/README.md says what is in it)."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selflong.job import UserError
from selflong.mixture.render import Prepared, _sequence, loss_tokens
from selflong.sources.conversations.mds import HubTokens
from selflong.sources.conversations.mds_format import MdsFolder
from selflong.sources.conversations.rows import Chunk, Rejected
from selflong.tokens import Tokenizer
from selflong.training.loss import target_mask

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
        (copy / "index.json").read_text().replace('null, "f', '"zstd", "f')
    )
    with pytest.raises(UserError, match="compression zstd"):
        MdsFolder(copy)
    (copy / "index.json").write_text("{")
    with pytest.raises(UserError, match="no index"):
        MdsFolder(copy)


def _write_rows(folder: Path, rows: list[dict[str, np.ndarray]]) -> None:
    """One shard of uint32 ids and uint8 masks, as mosaicml-streaming lays them out."""
    folder.mkdir()
    body = b""
    offsets = [4 * (len(rows) + 2)]
    for row in rows:
        columns = [
            bytes([1 << 2 | 2, *len(x).to_bytes(4, "little")]) + x.tobytes() for x in row.values()
        ]
        body += np.array([len(c) for c in columns], np.uint32).tobytes() + b"".join(columns)
        offsets.append(4 * (len(rows) + 2) + len(body))
    header = np.array([len(rows), *offsets], np.uint32).tobytes()
    (folder / "shard.00000.mds").write_bytes(header + body)
    shard = {
        "format": "mds", "version": 2, "compression": None, "samples": len(rows),
        "column_names": list(rows[0]), "column_encodings": ["ndarray:uint32", "ndarray:uint8"],
        "column_sizes": [None, None], "raw_data": {"basename": "shard.00000.mds"},
    }  # fmt: skip
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": [shard]}))


def _rows_of(folder: Path, rows: int) -> list[Any]:
    chunk = Chunk(folder / "shard.00000.mds", 0, rows, 0, "shard.00000.mds")
    source = HubTokens(
        kind="mds", repository="a/b", revision="main", files="**", tokenizer="m", rows=1, tokens=1
    )
    return list(source.read("entry", chunk))


def test_a_mask_says_what_the_loss_counts(tmp_path: Path, smollm2_tokenizer: Tokenizer) -> None:
    mask = np.array([0, 0, 1, 1, 0, 0, 0, 1, 1, 0], np.uint8)
    _write_rows(
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
    assert loss_tokens(masked.kind, masked.rendered.roles) == 4
    assert isinstance(nothing, Rejected) and nothing.reason == "nothing_to_learn"


def test_a_mask_of_another_length_is_named(tmp_path: Path) -> None:
    row = {"input_ids": np.arange(10, dtype=np.uint32), "mask": np.ones(9, np.uint8)}
    _write_rows(tmp_path / "m", [row])
    with pytest.raises(UserError, match="row 0: mask has the shape"):
        _rows_of(tmp_path / "m", 1)

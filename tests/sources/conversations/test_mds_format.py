"""Reads what mosaicml-streaming wrote (mds/README.md says what is in it)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from selflong.job import UserError
from selflong.sources.conversations.mds_format import MdsFolder

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

"""Shards as mosaicml-streaming lays them out (its own lie in tests/sources/conversations/mds)."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def _encoded(values: np.ndarray) -> bytes:
    """An array of the encoding `ndarray:<dtype>`: its dimensions, then its values."""
    shape = np.array(values.shape, np.uint32)
    return bytes([len(shape) << 2 | 2]) + shape.tobytes() + values.tobytes()


def write_mds(folder: Path, rows: Sequence[dict[str, np.ndarray]]) -> Path:
    """One shard of rows with the same columns, each uint8 or uint32; the folder."""
    folder.mkdir(parents=True)
    body = b""
    offsets = [4 * (len(rows) + 2)]
    for row in rows:
        columns = [_encoded(values) for values in row.values()]
        body += np.array([len(c) for c in columns], np.uint32).tobytes() + b"".join(columns)
        offsets.append(4 * (len(rows) + 2) + len(body))
    header = np.array([len(rows), *offsets], np.uint32).tobytes()
    (folder / "shard.00000.mds").write_bytes(header + body)
    shard = {
        "format": "mds", "version": 2, "compression": None, "samples": len(rows),
        "column_names": list(rows[0]),
        "column_encodings": [f"ndarray:{values.dtype}" for values in rows[0].values()],
        "column_sizes": [None] * len(rows[0]), "raw_data": {"basename": "shard.00000.mds"},
    }  # fmt: skip
    (folder / "index.json").write_text(json.dumps({"version": 2, "shards": [shard]}))
    return folder


def packed_rows(
    documents: Sequence[Sequence[int]], length: int, masks: Sequence[Sequence[int]] | None = None
) -> list[dict[str, np.ndarray]]:
    """Documents one after the other as full rows of ProLong's columns; what fills no row is left out."""
    ids = np.concatenate([np.array(document, np.uint32) for document in documents])
    bounds = np.cumsum([0, *(len(document) for document in documents)])
    rows = []
    for start in range(0, len(ids) - length + 1, length):
        inside = bounds[(bounds > start) & (bounds < start + length)] - start
        edges = np.array([0, *inside, length], np.uint32)
        row = {
            "input_ids": ids[start : start + length],
            "indices": np.stack([edges[:-1], edges[1:]], axis=1),
        }
        if masks is not None:
            row["mask"] = np.concatenate(masks).astype(np.uint8)[start : start + length]
        rows.append(row)
    return rows

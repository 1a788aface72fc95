"""Reads arrays out of MDS shards (mosaicml-streaming's format, version 2).

A shard: uint32 rows; uint32 [rows + 1] byte offsets; the writer's configuration; the rows. A row: a uint32
size for each column without a fixed one, then the columns' bytes. A shard may be compressed as a whole. The
library itself wants older versions of transformers and numpy than everything else here.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from selflong.job import UserError

# Codes of dtypes and of the dtypes of shapes, as the format defines them.
_VALUE_DTYPES = {
    8: "uint8",
    9: "int8",
    16: "uint16",
    17: "int16",
    18: "float16",
    32: "uint32",
    33: "int32",
    34: "float32",
    64: "uint64",
    65: "int64",
    66: "float64",
}
_SHAPE_DTYPES = ("uint8", "uint16", "uint32", "uint64")
_COMPRESSIONS = {"zstd": "zstd", "gz": "gzip", "bz2": "bz2", "br": "brotli"}
"""The format's name -> pyarrow's. It knows snappy too, whose framing pyarrow does not read."""


_MOST_ROWS = 1 << 30  # of a shard, whose offsets are of 32 bits


class MdsFolder:
    """A folder of MDS shards with its index.json; rows are numbered through all shards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shards: list[dict[str, Any]] = _read_index(path / "index.json")
        self._starts = np.cumsum([0, *(shard["samples"] for shard in self._shards)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        """The array columns of a row."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        try:
            return self._columns(self._shards[number], row, number)
        except (LookupError, OverflowError, StopIteration, TypeError, ValueError):
            name = self._shards[number]["raw_data"]["basename"]
            raise UserError(
                f"{self.path / name}: row {row} is not what the index says: fetch it again"
            ) from None

    def _columns(self, shard: dict[str, Any], row: int, number: int) -> dict[str, np.ndarray]:
        data = self._row_bytes(shard, row - int(self._starts[number]))
        variable = shard["column_sizes"].count(None)
        position = 4 * variable
        given = iter(np.frombuffer(data, np.uint32, variable).tolist())
        sizes = [next(given) if size is None else size for size in shard["column_sizes"]]
        columns = {}
        for name, encoding, size in zip(
            shard["column_names"], shard["column_encodings"], sizes, strict=True
        ):
            if encoding.partition(":")[0] == "ndarray":
                columns[name] = _array(encoding, data[position : position + size])
            position += size
        return columns

    def _row_bytes(self, shard: dict[str, Any], row: int) -> bytes:
        path = self.path / shard["raw_data"]["basename"]
        # Whoever unpacked a compressed shard may have kept both.
        if not path.is_file() and shard.get("compression"):
            path = self.path / shard["zip_data"]["basename"]
        if not path.is_file():
            raise UserError(f"{path} is missing: {self.path / 'index.json'} names it")
        if path.name == shard["raw_data"]["basename"]:
            with path.open("rb") as stream:
                stream.seek(4 * (row + 1))
                start, end = np.frombuffer(stream.read(8), np.uint32).tolist()
                stream.seek(start)
                data = stream.read(end - start)
        else:
            whole = _decompressed(path, _compression(shard))
            start, end = np.frombuffer(whole[4 * (row + 1) :][:8], np.uint32).tolist()
            data = bytes(whole[start:end])
        if len(data) != end - start:
            raise UserError(f"{path} is shorter than it says: fetch it again")
        return data


def _compression(shard: dict[str, Any]) -> str | None:
    """The algorithm's name in pyarrow; its level, after a colon, is the writer's."""
    name, _, _ = str(shard.get("compression")).partition(":")
    return _COMPRESSIONS.get(name)


# Rows are read in their order, and a shard is some 70 MB.
@lru_cache(maxsize=1)
def _decompressed(path: Path, compression: str | None) -> memoryview:
    """A compressed shard."""
    import pyarrow as pa

    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            return memoryview(stream.read())
    except OSError:
        raise UserError(f"{path} cannot be decompressed: fetch it again") from None


def _read_index(path: Path) -> list[dict[str, Any]]:
    try:
        shards = json.loads(path.read_text(encoding="utf-8"))["shards"]
        described = all(_is_described(shard) for shard in shards)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        described = False
    if not described:
        raise UserError(f"{path} is no index of MDS shards: fetch it again")
    for shard in shards:
        if shard["format"] != "mds" or shard["version"] != 2:
            raise UserError(
                f"{path}: shards must be MDS of version 2, not {shard['format']} of version "
                f"{shard['version']}"
            )
        if shard.get("compression") and _compression(shard) is None:
            raise UserError(
                f"{path}: compression {shard['compression']} is none of {', '.join(_COMPRESSIONS)}: unpack "
                "the shards first"
            )
    return shards


def _is_described(shard: dict[str, Any]) -> bool:
    """Whether an index names a shard's files, beside itself, its rows and its columns."""
    files = [shard["raw_data"], *([shard["zip_data"]] if _compression(shard) else [])]
    names = [file["basename"] for file in files]
    columns = [shard[f"column_{part}"] for part in ("names", "encodings", "sizes")]
    return (
        {"format", "version"} <= shard.keys()
        and all(isinstance(name, str) and Path(name).name == name for name in names)
        and "\0" not in "".join(names)
        and isinstance(shard["samples"], int)
        and 0 <= shard["samples"] <= _MOST_ROWS
        and all(isinstance(column, list) for column in columns)
        and len({len(column) for column in columns}) == 1
        and all(isinstance(item, str) for column in columns[:2] for item in column)
        and all(size is None or (type(size) is int and size >= 0) for size in columns[2])
    )


def _array(encoding: str, data: bytes) -> np.ndarray:
    """An array; dtype and shape stand in the encoding (ndarray:<dtype>:<shape>) or before the values."""
    _, _, fixed = encoding.partition(":")
    dtype, _, fixed_shape = fixed.partition(":")
    position = 0
    if not dtype:
        dtype = _VALUE_DTYPES[data[0]]
        position = 1
    if fixed_shape:
        shape = tuple(map(int, fixed_shape.split(",")))
    else:
        dimensions, shape_dtype = data[position] >> 2, np.dtype(_SHAPE_DTYPES[data[position] & 3])
        shape = tuple(np.frombuffer(data, shape_dtype, dimensions, position + 1).tolist())
        position += 1 + dimensions * shape_dtype.itemsize
    return np.frombuffer(data[position:], dtype).reshape(shape)

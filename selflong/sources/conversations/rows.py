"""What every source of conversations gives: rows as messages or tokens, a chunk of them at a time."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from selflong.job import UserError
from selflong.tokens import Message

LONG_ROWS = 128  # of a chunk
SHORT_ROWS = 2048


@dataclass(frozen=True)
class Conversation:
    """A row with text."""

    sample_id: str
    kind: str
    messages: list[Message]


@dataclass(frozen=True)
class Document:
    """A row of plain text."""

    sample_id: str
    text: str


@dataclass(frozen=True)
class Sequence:
    """A row that is tokenised already: one document, or several that are packed."""

    sample_id: str
    ids: np.ndarray
    """uint32 [tokens]"""
    targets: np.ndarray | None = None
    """bool [tokens]: what the loss counts, where the row says it."""
    bounds: np.ndarray | None = None
    """int64 [documents, 2]: where each document begins and ends in `ids`; one document where it is null."""
    kind: str = "pretraining"

    @property
    def documents(self) -> "list[Sequence]":
        """Each document as a row of its own."""
        if self.bounds is None:
            return [self]
        return [
            replace(
                self,
                sample_id=f"{self.sample_id}:{number}",
                ids=self.ids[start:end],
                targets=None if self.targets is None else self.targets[start:end],
                bounds=None,
            )
            for number, (start, end) in enumerate(self.bounds.tolist())
        ]


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be used."""

    sample_id: str
    kind: str
    reason: str
    tokens: int = 0
    """Where it was rendered."""


Row = Conversation | Document | Sequence | Rejected


@dataclass(frozen=True)
class Chunk:
    """A run of rows of one source; the unit of work that is done or not done."""

    path: Path
    start: int
    """First row; in a JSONL file the first row's byte."""
    rows: int
    first_row: int
    name: str
    """Of the file, as it stands in sample ids."""


def even_chunks(path: Path, name: str, rows: int, size: int) -> Iterator[Chunk]:
    """Chunks of `size` rows of a file whose rows are numbered."""
    for start in range(0, rows, size):
        yield Chunk(path, start, min(size, rows - start), start, name)


def numbered(
    entry: str,
    chunk: Chunk,
    rows: Iterable[Any],
    convert: Callable[[Any], "list[Message] | str"],
) -> Iterator[Row]:
    """Rows as conversations; where `convert` gives a reason instead of messages, as rejected ones."""
    for row, record in enumerate(rows, start=chunk.first_row):
        sample_id = f"{entry}/{chunk.name}:{row}"
        converted = convert(record)
        if isinstance(converted, str):
            yield Rejected(sample_id, "short", converted)
        else:
            yield Conversation(sample_id, "short", converted)


def parquet_schema(path: Path) -> pl.Schema:
    """Columns of a parquet file; UserError where it is none."""
    try:
        return pl.scan_parquet(path).collect_schema()
    except (pl.exceptions.PolarsError, OSError):
        raise unreadable(path) from None


def parquet_rows(path: Path) -> int:
    """Rows of a parquet file; UserError where it is none."""
    parquet_schema(path)
    return int(pl.scan_parquet(path).select(pl.len()).collect().item())


def parquet_slice(path: Path, columns: list[str], start: int, rows: int) -> pl.DataFrame:
    """Some rows of a parquet file; UserError where they are damaged."""
    try:
        return pl.scan_parquet(path).select(columns).slice(start, rows).collect()
    except (pl.exceptions.PolarsError, OSError):
        raise unreadable(path) from None


def unreadable(path: Path) -> UserError:
    """The mistake of a damaged file."""
    return UserError(f"{path} is no readable parquet file: fetch or make it again")

"""Plain text in parquet or JSONL files, also JSONL under zstd: a document a row, or a group of rows."""

import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from selflong.job import UserError
from selflong.sources.conversations.rows import (
    SHORT_ROWS,
    Chunk,
    Document,
    Rejected,
    Row,
    even_chunks,
    parquet_rows,
    parquet_schema,
    parquet_slice,
)
from selflong.sources.conversations.section import ConversationSection
from selflong.sources.text import whole_characters

NO_TEXT = "no_text"
OTHER = "other_rows"
"""Reason of rows that `where` does not ask for."""


class TextRows(ConversationSection):
    """A source whose rows are documents to train on as they are."""

    files: str = "*.parquet"
    """Glob of its files."""
    column: str = "text"
    """That holds the text; of a field in a column, with a dot between."""
    where: dict[str, str] = {}  # noqa: RUF012 - pydantic gives each section its own copy
    """Column -> the value that a row must have, as {meta.redpajama_set_name: RedPajamaBook}."""
    joined_by: str | None = None
    """Rows of a file with the same value of this column are one document, in the file's order: the files of
    a repository (ProLong, section 3.1). The data must keep a repository in one file."""

    @property
    def samples_kind(self) -> str:
        return "pretraining"

    def chunks_of_file(self, path: Path, name: str) -> Iterator[Chunk]:
        if path.suffix != ".parquet":
            # Read from its beginning to its end, and once: how many rows it has shows then.
            yield Chunk(path, 0, 0, 0, name)
            return
        rows = parquet_rows(path)
        yield from even_chunks(path, name, rows, max(1, rows) if self.joined_by else SHORT_ROWS)

    def read(self, entry: str, chunk: Chunk) -> Iterator[Row]:
        records = self._records(chunk)
        if self.joined_by is not None:
            yield from self._joined(entry, chunk, records)
            return
        for row, record in enumerate(records, start=chunk.first_row):
            yield self._row(f"{entry}/{chunk.name}:{row}", record, chunk.path)

    def _row(self, sample_id: str, record: Mapping[str, Any], path: Path) -> Document | Rejected:
        if any(
            self._value(record, column, path) != wanted for column, wanted in self.where.items()
        ):
            return Rejected(sample_id, self.samples_kind, OTHER)
        text = self._value(record, self.column, path)
        if not isinstance(text, str) or not text.strip():
            return Rejected(sample_id, self.samples_kind, NO_TEXT)
        return Document(sample_id, whole_characters(text))

    def _joined(
        self, entry: str, chunk: Chunk, records: Iterator[Mapping[str, Any]]
    ) -> Iterator[Row]:
        assert self.joined_by is not None
        groups: dict[Any, list[str]] = {}
        for row, record in enumerate(records, start=chunk.first_row):
            found = self._row(f"{entry}/{chunk.name}:{row}", record, chunk.path)
            if isinstance(found, Rejected):
                yield found
            else:
                key = self._value(record, self.joined_by, chunk.path)
                groups.setdefault(key, []).append(found.text)
        for number, texts in enumerate(groups.values()):
            yield Document(f"{entry}/{chunk.name}:{self.joined_by}:{number}", "\n".join(texts))

    def _records(self, chunk: Chunk) -> Iterator[dict[str, Any]]:
        if chunk.path.suffix != ".parquet":
            yield from _lines(chunk.path)
            return
        roots = {
            name.partition(".")[0] for name in (self.column, self.joined_by, *self.where) if name
        }
        held = [name for name in parquet_schema(chunk.path).names() if name in roots]
        yield from parquet_slice(chunk.path, held, chunk.start, chunk.rows).iter_rows(named=True)

    def _value(self, record: Mapping[str, Any], column: str, path: Path) -> Any:
        """Of a column, or of a field in one: its name after a dot."""
        value: Any = record
        for name in column.split("."):
            if not isinstance(value, Mapping) or name not in value:
                raise UserError(
                    f"{path}: column {column!r} is missing; there are {sorted(record)}; correct `column`, "
                    "`where` or `joined_by` of the source"
                )
            value = value[name]
        return value


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSONL file, which may be compressed as its name says (.zst, .gz)."""
    import pyarrow as pa

    number = 0
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8"), start=1):
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise UserError(f"{path}: line {number} must hold an object")
                yield record
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read as lines of UTF-8: {error}; fetch it again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: line {number} is not JSON: {str(error)[:80]}") from None

"""Conversations in parquet, JSONL or JSON files: OpenAI `messages` or ShareGPT `conversations`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from selflong.job import UserError
from selflong.sources.conversations.rows import (
    SHORT_ROWS,
    Chunk,
    Row,
    even_chunks,
    numbered,
    parquet_rows,
    parquet_schema,
    parquet_slice,
)
from selflong.sources.conversations.section import ConversationSection
from selflong.sources.text import whole_characters
from selflong.tokens import Message, message

_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
_LANGUAGE_COLUMNS = ("langdetect", "language")
NO_CONVERSATION = "no_conversation"


class RecordConversations(ConversationSection):
    """A source whose rows are records with a column of conversations."""

    files: str = "*.parquet"
    """Glob of its files."""
    column: Literal["messages", "conversations"] = "messages"
    """That holds the conversations, in OpenAI's form or ShareGPT's."""

    @property
    def wanted_languages(self) -> list[str] | None:
        """Rows of other languages are rejected."""
        return None

    def chunks_of_file(self, path: Path, name: str) -> Iterator[Chunk]:
        if path.suffix == ".jsonl":
            return _jsonl_chunks(path, name)
        if path.suffix == ".json":
            rows = len(_list(path))
            return even_chunks(path, name, rows, max(1, rows))
        return even_chunks(path, name, parquet_rows(path), SHORT_ROWS)

    def read(self, entry: str, chunk: Chunk) -> Iterator[Row]:
        if chunk.path.suffix == ".jsonl":
            records = _lines(chunk)
        elif chunk.path.suffix == ".json":
            records = iter(_list(chunk.path))
        else:
            records = self._parquet_records(chunk)
        return numbered(entry, chunk, records, lambda record: self._messages(record, chunk.path))

    def _parquet_records(self, chunk: Chunk) -> Iterator[dict[str, Any]]:
        wanted = [self.column, *_LANGUAGE_COLUMNS]
        held = [name for name in parquet_schema(chunk.path).names() if name in wanted]
        frame = parquet_slice(chunk.path, held, chunk.start, chunk.rows)
        yield from frame.iter_rows(named=True)

    def _messages(self, record: Mapping[str, Any], path: Path) -> list[Message] | str:
        """Messages, or the reason why there are none."""
        if self.column not in record:
            raise UserError(
                f"{path}: column {self.column!r} is missing; there are {sorted(record)}; "
                "name the right one in the recipe's `column`"
            )
        wanted = self.wanted_languages
        if wanted is not None and self._language(record, path) not in wanted:
            return "language"
        return messages(record[self.column], self.column)

    def _language(self, record: Mapping[str, Any], path: Path) -> Any:
        for column in _LANGUAGE_COLUMNS:
            if column in record:
                return record[column]
        raise UserError(
            f"{path}: the recipe names languages, but there is no column "
            f"{' or '.join(_LANGUAGE_COLUMNS)}; take `languages` out"
        )


def _jsonl_chunks(path: Path, name: str) -> Iterator[Chunk]:
    start, end, rows, first_row = 0, 0, 0, 0
    with path.open("rb") as stream:
        for line in stream:
            end += len(line)
            rows += 1
            if rows == SHORT_ROWS:
                yield Chunk(path, start, rows, first_row, name)
                start, rows, first_row = end, 0, first_row + rows
    if rows:
        yield Chunk(path, start, rows, first_row, name)


def _lines(chunk: Chunk) -> Iterator[dict[str, Any]]:
    with chunk.path.open("rb") as stream:
        stream.seek(chunk.start)
        for row in range(chunk.first_row, chunk.first_row + chunk.rows):
            place = f"{chunk.path}: line {row + 1}"
            try:
                record = json.loads(stream.readline().decode())
            except UnicodeDecodeError:
                raise UserError(f"{place} is not UTF-8: convert the file") from None
            except ValueError as error:  # a number of too many digits is none of json's own errors
                raise UserError(f"{place} is not JSON: {str(error)[:80]}") from None
            except RecursionError:
                raise UserError(f"{place} is nested too deeply: take it out") from None
            if not isinstance(record, dict):
                raise UserError(f"{place} must hold an object")
            yield record


def _list(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON file that is one list."""
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON in UTF-8: {error}") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(f"{path} must hold a list of objects")
    return records


def messages(value: Any, column: str) -> list[Message] | str:
    """OpenAI messages or ShareGPT conversations in our schema, or the reason why there are none.

    A conversation may be a JSON string, or one object of lists. What follows the last answer is left out.
    """
    role_key, text_key = ("role", "content") if column == "messages" else ("from", "value")
    found: list[Message] = []
    for turn in _turns(value):
        if not isinstance(turn, Mapping):
            return NO_CONVERSATION
        role, text = turn.get(role_key), _text(turn.get(text_key))
        if not isinstance(role, str) or role not in _ROLES:
            return "unknown_role"
        if not text.strip():
            return "empty_message"
        found.append(message(_ROLES[role], text))
    while found and found[-1]["role"] != "assistant":
        found.pop()
    return found or "no_response"


def _turns(value: Any) -> list[Any]:
    """The turns of a conversation; [None] where the value is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return [None]
    if isinstance(value, Mapping) and all(isinstance(part, list) for part in value.values()):
        # A sequence of objects, as the datasets library stores it.
        keys, columns = list(value), list(value.values())
        if len({len(part) for part in columns}) == 1:
            return [dict(zip(keys, turn, strict=True)) for turn in zip(*columns, strict=True)]
    return value if isinstance(value, list) else [None] if value is not None else []


def _text(content: Any) -> str:
    """Text of a message, whole or in parts; empty where it is none."""
    if isinstance(content, list):
        parts = [_text(part.get("text")) for part in content if isinstance(part, Mapping)]
        content = "".join(parts)
    return whole_characters(content) if isinstance(content, str) else ""

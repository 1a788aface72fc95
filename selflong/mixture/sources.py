"""Rows of every kind of source as conversations or tokens, a chunk of rows at a time."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from selflong.formats import SAMPLES, check
from selflong.job import UserError
from selflong.mixture.mds import MdsFolder
from selflong.packages import package_folder
from selflong.recipe import (
    FolderConversations,
    HubConversations,
    HubTokens,
    PackageConversations,
    SampleSource,
    SynthesisedSamples,
)
from selflong.tokens import Message

LONG_ROWS = 128  # of a chunk
SHORT_ROWS = 2048

_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
_LANGUAGE_COLUMNS = ("langdetect", "language")

# chatterbot-corpus: the files whose lists are questions with real answers. The others are small talk in a
# robot's voice, jokes, or quotations that answer nothing.
CHATTERBOT_FILES = ("coding", "computers", "science", "tech_support", "trivia")
_SHORTEST_ANSWER = 3  # letters and digits; shorter ones are rests of sentences that were cut


@dataclass(frozen=True)
class Conversation:
    """A row with text."""

    sample_id: str
    kind: str
    messages: list[Message]


@dataclass(frozen=True)
class Sequence:
    """A row that is tokenised already."""

    sample_id: str
    ids: np.ndarray
    """uint32 [tokens]"""
    targets: np.ndarray | None = None
    """bool [tokens]: what the loss counts, where the row says it."""


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be used."""

    sample_id: str
    kind: str
    reason: str
    tokens: int = 0
    """Where it was rendered."""


Row = Conversation | Sequence | Rejected


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


def kind_of(source: SampleSource) -> str:
    """The kind of a source's samples (formats.KINDS)."""
    if isinstance(source, SynthesisedSamples):
        return source.samples
    return "pretraining" if isinstance(source, HubTokens) else "short"


def input_files(source: SampleSource, given: Iterable[Path]) -> list[Path]:
    """The files that hold a source's rows: `given` ones, or those in the given folders that it names."""
    if isinstance(source, PackageConversations):
        folder = package_folder("chatterbot_corpus") / "data" / "english"
        return [folder / f"{name}.yml" for name in CHATTERBOT_FILES]
    pattern = getattr(source, "files", "*.parquet")
    files: list[Path] = []
    for path in given:
        files.extend(sorted(_matching(path, pattern)) if path.is_dir() else [path])
    if isinstance(source, HubTokens):
        files = [path for path in files if path.name == "index.json"]
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        raise UserError(f"no file matches {pattern!r} in {', '.join(map(str, given)) or 'nothing'}")
    return files


def _matching(folder: Path, pattern: str) -> Iterator[Path]:
    """Files below `folder`; a pattern that ends in ** means everything below."""
    if pattern.endswith("**"):
        pattern += "/*"
    return (path for path in folder.glob(pattern) if path.is_file())


def chunks(source: SampleSource, files: Iterable[Path]) -> list[Chunk]:
    """A source's rows in chunks, in the order of the files."""
    found: list[Chunk] = []
    names: set[str] = set()
    for path in files:
        name = path.parent.name if path.name == "index.json" else path.stem
        while name in names:
            name += "'"
        names.add(name)
        found.extend(_chunks_of_file(source, path, name))
    return found


def _chunks_of_file(source: SampleSource, path: Path, name: str) -> Iterator[Chunk]:
    if path.suffix == ".jsonl":
        yield from _jsonl_chunks(path, name)
        return
    size = LONG_ROWS if isinstance(source, SynthesisedSamples | HubTokens) else SHORT_ROWS
    if isinstance(source, PackageConversations):
        total = len(_chatterbot_lists(path))
    elif isinstance(source, HubTokens):
        total = len(MdsFolder(path.parent))
    else:
        total = _parquet(path).select(pl.len()).collect().item()
    for start in range(0, total, size):
        yield Chunk(path, start, min(size, total - start), start, name)


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


def read(entry: str, source: SampleSource, chunk: Chunk) -> Iterator[Row]:
    """The rows of a chunk, each with an id that tells entry, file and row.

    Raises UserError where a column is missing or a file is damaged.
    """
    if isinstance(source, SynthesisedSamples):
        yield from _synthesised(chunk, source.samples)
    elif isinstance(source, HubTokens):
        yield from _sequences(entry, chunk)
    elif isinstance(source, PackageConversations):
        yield from _numbered(entry, chunk, _chatterbot_rows(chunk), _chatterbot)
    else:
        languages = source.languages if isinstance(source, HubConversations) else None
        columns = _Columns(str(chunk.path), source.column, languages)
        yield from _numbered(entry, chunk, _records(chunk, source), columns.conversation)


def _numbered(
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


# ------------------------------------------------------------------------------ parquet and JSONL


def _parquet(path: Path) -> pl.LazyFrame:
    try:
        frame = pl.scan_parquet(path)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError):
        raise UserError(f"{path} is no readable parquet file: fetch or make it again") from None
    return frame


def _synthesised(chunk: Chunk, kind: str) -> Iterator[Row]:
    frame = _parquet(chunk.path).slice(chunk.start, chunk.rows).collect()
    for row in check(frame, SAMPLES, str(chunk.path)).iter_rows(named=True):
        if row["kind"] != kind:
            raise UserError(
                f"{chunk.path}: sample {row['sample_id']} is of the kind {row['kind']}, not {kind}"
            )
        yield Conversation(row["sample_id"], row["kind"], row["messages"])


def _records(
    chunk: Chunk, source: HubConversations | FolderConversations
) -> Iterator[dict[str, Any]]:
    if chunk.path.suffix != ".jsonl":
        frame = _parquet(chunk.path)
        wanted = [source.column, *_LANGUAGE_COLUMNS]
        held = [name for name in frame.collect_schema().names() if name in wanted]
        yield from frame.select(held).slice(chunk.start, chunk.rows).collect().iter_rows(named=True)
        return
    with chunk.path.open("rb") as stream:
        stream.seek(chunk.start)
        for row in range(chunk.first_row, chunk.first_row + chunk.rows):
            try:
                record = json.loads(stream.readline())
            except json.JSONDecodeError as error:
                raise UserError(f"{chunk.path}: line {row + 1} is not JSON: {error.msg}") from None
            if not isinstance(record, dict):
                raise UserError(f"{chunk.path}: line {row + 1} must hold an object")
            yield record


@dataclass(frozen=True)
class _Columns:
    """How a record's columns are read."""

    place: str
    column: str
    languages: list[str] | None

    def conversation(self, record: Mapping[str, Any]) -> list[Message] | str:
        """Messages, or the reason why there are none."""
        if self.column not in record:
            raise UserError(
                f"{self.place}: column {self.column!r} is missing; there are {sorted(record)}; "
                "name the right one in the recipe's `column`"
            )
        if self.languages is not None and self._language(record) not in self.languages:
            return "language"
        return _messages(record[self.column] or [], self.column)

    def _language(self, record: Mapping[str, Any]) -> Any:
        for column in _LANGUAGE_COLUMNS:
            if column in record:
                return record[column]
        raise UserError(
            f"{self.place}: the recipe names languages, but there is no column "
            f"{' or '.join(_LANGUAGE_COLUMNS)}; take `languages` out"
        )


def _messages(turns: list[Mapping[str, Any]], column: str) -> list[Message] | str:
    """OpenAI messages or ShareGPT conversations in our schema; what follows the last answer is left out."""
    role_key, text_key = ("role", "content") if column == "messages" else ("from", "value")
    messages: list[Message] = []
    for turn in turns:
        role = _ROLES.get(turn.get(role_key) or "")
        text = turn.get(text_key)
        if role is None:
            return "unknown_role"
        if not isinstance(text, str) or not text.strip():
            return "empty_message"
        messages.append(message(role, text))
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    return messages or "no_response"


def message(role: str, text: str) -> Message:
    """A message of one part."""
    kind = "response" if role == "assistant" else "prompt"
    return {"role": role, "parts": [{"kind": kind, "text": text}]}


# ---------------------------------------------------------------------------- packages and tokens


def _chatterbot_lists(path: Path) -> list[list[str]]:
    if not path.exists():
        raise UserError(f"{path} is missing: install chatterbot-corpus again")
    return yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["conversations"]


def _chatterbot_rows(chunk: Chunk) -> list[list[str]]:
    return _chatterbot_lists(chunk.path)[chunk.start : chunk.start + chunk.rows]


def _chatterbot(lines: list[str]) -> list[Message] | str:
    """A question and its first answer (the following lines are other answers to the same question)."""
    if len(lines) < 2:
        return "no_response"
    question, answer = lines[0].strip(), lines[1].strip()
    if not question or len(re.sub(r"[\W_]", "", answer)) < _SHORTEST_ANSWER:
        return "no_real_answer"
    if answer.endswith("?"):
        return "answers_with_question"
    return [message("user", question), message("assistant", answer)]


def _sequences(entry: str, chunk: Chunk) -> Iterator[Row]:
    """Each document of each row: `indices` tells where documents begin and end in `input_ids`, and `mask`
    which tokens the loss counts."""
    folder = MdsFolder(chunk.path.parent)
    for row in range(chunk.start, chunk.start + chunk.rows):
        record = folder[row]
        if "input_ids" not in record:
            raise UserError(f"{folder.path}: column 'input_ids' is missing")
        ids = record["input_ids"].astype(np.uint32, copy=False)
        targets = record.get("mask")
        if targets is not None and targets.shape != ids.shape:
            raise UserError(
                f"{folder.path}: row {row}: mask has the shape {targets.shape}, but input_ids {ids.shape}; "
                "fetch it again"
            )
        bounds = record.get("indices", np.array([[0, len(ids)]]))
        for document, (start, end) in enumerate(bounds.tolist()):
            sample_id = f"{entry}/{chunk.name}:{row}:{document}"
            if end - start < 2:
                yield Rejected(sample_id, "pretraining", "no_response")
            else:
                own = None if targets is None else targets[start:end].astype(bool)
                yield Sequence(sample_id, ids[start:end], own)

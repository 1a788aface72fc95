"""Rows of a benchmark that lies in a download, and the length at which each is asked."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from selflong.job import UserError
from selflong.llm.protocol import Endpoint
from selflong.suites.prompt import Prompt, Respondent, Turn
from selflong.tokens import Message

CHARACTERS_A_TOKEN = 8
"""More than any text of a benchmark has on average: English has four to five."""

FILLED_SHARE = 0.5 / math.log(2)
"""Mean of samples over their length, where those that fill more than half are as likely at any scale."""


def parquet_rows(download: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """`columns` of each row of the parquet files below a folder, in the order of their names.

    One row is in memory at a time. Raises UserError where there is no file, or one lacks a column.
    """
    # Their import takes long, and an estimate reads no rows.
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = sorted(download.rglob("*.parquet"))
    if not paths:
        raise UserError(f"{download} holds no parquet file: download it again")
    for path in paths:
        require_columns(path, columns)
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=1, columns=list(columns)):
                    yield from batch.to_pylist()
        except (pa.ArrowException, OSError, ValueError):
            raise _unreadable(path) from None


def json_rows(path: Path, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Each object of a JSON list; UserError where the file is no such list, or one lacks a field."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}): download it again") from None
    if not isinstance(rows, list):
        raise UserError(f"{path} must hold a list of objects")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise UserError(f"{path}: row {number} is no object: download it again")
        missing = [field for field in fields if field not in row]
        if missing:
            raise UserError(f"{path}: row {number} lacks the field {missing[0]!r}")
        yield row


def require_columns(path: Path, columns: Sequence[str]) -> None:
    """UserError where a parquet file lacks one of the columns."""
    try:
        present = pl.read_parquet_schema(path)
    except (pl.exceptions.PolarsError, OSError, ValueError):
        raise _unreadable(path) from None
    missing = [column for column in columns if column not in present]
    if missing:
        raise UserError(f"{path}: column {missing[0]!r} is missing")


def _unreadable(path: Path) -> UserError:
    return UserError(f"{path} is no readable parquet file: download it again")


@dataclass(frozen=True)
class Stored:
    """A sample of a set, before anybody counted its tokens."""

    task: str
    index: int
    """Its place, whatever the model."""
    messages: Sequence[Message]
    answer: str
    """The longest that is right, which the model must have room for."""
    answers: tuple[str, ...]
    """What the metric is given."""
    depth: float | None = None


def first_of_each_length(
    stored: Iterable[Stored], samples: int, answer_tokens: int, respondent: Respondent
) -> Iterator[Prompt]:
    """The first `samples` of each task at each length, in their order."""
    tokenizer = respondent.tokenizer
    asked: Counter[tuple[str, int]] = Counter()
    for sample in stored:
        ids = tokenizer.prompt_ids(sample.messages)
        needed = tokenizer.count(sample.answer)
        length = length_of(len(ids) + needed, respondent.lengths)
        if length is None or asked[sample.task, length] == samples:
            continue
        asked[sample.task, length] += 1
        yield Prompt(
            task=sample.task,
            length=length,
            index=sample.index,
            ids=ids,
            text=tokenizer.decode(ids),
            answers=sample.answers,
            answer_tokens=answer_room(len(ids), needed, answer_tokens, respondent.endpoint),
            depth=sample.depth,
            message=tuple(map(_turn, sample.messages)),
        )


def _turn(message: Message) -> Turn:
    return message["role"], "".join(part["text"] for part in message["parts"])


def length_of(tokens: int, lengths: Sequence[int]) -> int | None:
    """The length that so many tokens count as: at most all of it, and more than half.

    None where they are too many or too few for each.
    """
    longer = [length for length in lengths if tokens <= length]
    return min(longer) if longer and tokens > min(longer) // 2 else None


def may_be_of(characters: int, lengths: Sequence[int]) -> bool:
    """Whether a text of so many characters can have one of the lengths, before its tokens are counted."""
    return any(length // 2 < characters <= CHARACTERS_A_TOKEN * length for length in lengths)


def answer_room(prompt_tokens: int, needed: int, allowed: int, endpoint: Endpoint) -> int:
    """Most tokens of an answer: `allowed`, or what the endpoint has left, and never less than `needed`."""
    return max(needed, min(allowed, endpoint.context_tokens - prompt_tokens))

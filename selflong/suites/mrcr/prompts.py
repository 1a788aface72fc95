"""MRCR's conversations as prompts."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from selflong.job import UserError
from selflong.suites.mrcr.section import Mrcr, task_name
from selflong.suites.prompt import Prompt, Respondent
from selflong.suites.stored_rows import Stored, first_of_each_length, may_be_of, parquet_rows
from selflong.tokens import Message, message

COLUMNS = (
    "prompt",
    "answer",
    "random_string_to_prepend",
    "n_needles",
    "desired_msg_index",
    "total_messages",
    "n_chars",
)
"""`prompt` is a JSON list of messages; message `desired_msg_index` is the one to be repeated."""


def prompts(suite: Mrcr, respondent: Respondent) -> Iterator[Prompt]:
    """The first `suite.samples` of each number of needles at each length, in the order of the set."""
    stored = _stored(suite, respondent.job.download, respondent.lengths)
    return first_of_each_length(stored, suite.samples, suite.answer_tokens, respondent)


def _stored(suite: Mrcr, download: Path, lengths: Sequence[int]) -> Iterator[Stored]:
    """The index of a sample is its place among those with so many needles."""
    places: Counter[int] = Counter()
    for row in parquet_rows(download, COLUMNS):
        needles = row["n_needles"]
        place = places[needles]
        places[needles] += 1
        if needles in suite.needles and may_be_of(row["n_chars"], lengths):
            yield Stored(
                task_name(needles), place, list(read_messages(row["prompt"], download)),
                row["answer"], (row["answer"], row["random_string_to_prepend"]),
                depth=row["desired_msg_index"] / row["total_messages"],
            )  # fmt: skip


def read_messages(text: str, download: Path) -> Iterator[Message]:
    """The conversation of a row; UserError where it is no list of messages."""
    try:
        for said in json.loads(text):
            yield message(said["role"], said["content"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{download}: a prompt is no JSON list of messages ({error!r})") from None

"""MRCR's conversations as prompts."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selflong.job import UserError
from selflong.llm.protocol import Endpoint
from selflong.suites.evaluation_job import Job
from selflong.suites.mrcr.section import Mrcr, task_name
from selflong.suites.prompt import Prompt
from selflong.suites.stored_rows import answer_room, length_of, may_be_of, parquet_rows
from selflong.tokens import Message, Tokenizer

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


def prompts(
    suite: Mrcr, job: Job, tokenizer: Tokenizer, endpoint: Endpoint, lengths: Sequence[int]
) -> Iterator[Prompt]:
    """The first `suite.samples` of each number of needles at each length, in the order of the set.

    The index of a prompt is its place among those with so many needles, whatever the model.
    """
    places: Counter[int] = Counter()
    asked: Counter[tuple[str, int]] = Counter()
    for row in parquet_rows(job.download, COLUMNS):
        needles = row["n_needles"]
        place = places[needles]
        places[needles] += 1
        if needles not in suite.needles or not may_be_of(row["n_chars"], lengths):
            continue
        messages = list(read_messages(row["prompt"], job.download))
        ids = tokenizer.render(messages, add_generation_prompt=True).ids.tolist()
        answer_tokens = tokenizer.count(row["answer"])
        length = length_of(len(ids) + answer_tokens, lengths)
        task = task_name(needles)
        if length is None or asked[task, length] == suite.samples:
            continue
        asked[task, length] += 1
        yield Prompt(
            task=task,
            length=length,
            index=place,
            ids=ids,
            text=tokenizer.decode(ids),
            answers=(row["answer"], row["random_string_to_prepend"]),
            answer_tokens=answer_room(len(ids), answer_tokens, suite.answer_tokens, endpoint),
            depth=row["desired_msg_index"] / row["total_messages"],
            message=tuple((each["role"], each["parts"][0]["text"]) for each in messages),
        )


def read_messages(text: str, download: Path) -> Iterator[Message]:
    """The conversation of a row; UserError where it is no list of messages."""
    try:
        for message in json.loads(text):
            yield _message(message["role"], message["content"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{download}: a prompt is no JSON list of messages ({error!r})") from None


def _message(role: str, content: Any) -> Message:
    kind = "response" if role == "assistant" else "prompt"
    return {"role": role, "parts": [{"kind": kind, "text": content}]}

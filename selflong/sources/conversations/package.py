"""Conversations that an installed Python package carries."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from selflong.job import UserError
from selflong.packages import package_folder
from selflong.sources.conversations.rows import (
    SHORT_ROWS,
    Chunk,
    Row,
    even_chunks,
    numbered,
)
from selflong.sources.conversations.section import ConversationSection, Size
from selflong.tokens import Message, message

PACKAGE = "chatterbot_corpus"

# The files whose lists are questions with real answers. The others are small talk in a robot's voice, jokes,
# or quotations that answer nothing.
CHATTERBOT_FILES = ("coding", "computers", "science", "tech_support", "trivia")
_SHORTEST_ANSWER = 3  # letters and digits; shorter ones are rests of sentences that were cut


@cache
def _lists(path: Path) -> list[list[str]]:
    import yaml

    if not path.exists():
        raise UserError(f"{path} is missing: install chatterbot-corpus again")
    text = path.read_text(encoding="utf-8")
    conversations: list[list[str]] = yaml.load(text, Loader=yaml.CSafeLoader)["conversations"]
    return conversations


def _messages(lines: list[str]) -> list[Message] | str:
    """A question and its first answer (the following lines are other answers to the same question)."""
    if len(lines) < 2:
        return "no_response"
    question, answer = lines[0].strip(), lines[1].strip()
    if not question or len(re.sub(r"[\W_]", "", answer)) < _SHORTEST_ANSWER:
        return "no_real_answer"
    if answer.endswith("?"):
        return "answers_with_question"
    return [message("user", question), message("assistant", answer)]


class PackageConversations(ConversationSection):
    """Short conversations that an installed Python package carries."""

    kind: Literal["package"]
    reader: Literal["chatterbot"]
    """The package."""
    licence: str

    @property
    def packages(self) -> tuple[str, ...]:
        return (PACKAGE,)

    def size(self) -> Size:
        return Size(3_000, 120_000)

    def input_files(self, given: Iterable[Path]) -> list[Path]:
        folder = package_folder(PACKAGE) / "data" / "english"
        return [folder / f"{name}.yml" for name in CHATTERBOT_FILES]

    def chunks_of_file(self, path: Path, name: str) -> Iterator[Chunk]:
        return even_chunks(path, name, len(_lists(path)), SHORT_ROWS)

    def read(self, entry: str, chunk: Chunk) -> Iterator[Row]:
        rows = _lists(chunk.path)[chunk.start : chunk.start + chunk.rows]
        return numbered(entry, chunk, rows, _messages)

"""Conversations on this file system."""

from pathlib import Path
from typing import Literal

from selflong.globs import matching_files
from selflong.sources.conversations.records import RecordConversations
from selflong.sources.conversations.section import Size, size_of_files

TOKENS_PER_ROW = 500
"""Of short conversations, for want of a count."""


class FolderConversations(RecordConversations):
    """Local parquet or JSONL files with a column of OpenAI `messages` or ShareGPT `conversations`."""

    kind: Literal["folder"]
    path: Path
    """Of the folder."""

    @property
    def folder(self) -> Path:
        return self.path

    def size(self) -> Size:
        return size_of_files(matching_files(self.path, self.files), TOKENS_PER_ROW)

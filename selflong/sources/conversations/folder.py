"""Conversations on this file system."""

from pathlib import Path
from typing import Literal

from selflong.globs import matching_files
from selflong.sources.conversations.records import RecordConversations
from selflong.sources.conversations.section import Size
from selflong.sources.documents.section import BYTES_PER_TOKEN, COMPRESSION

TOKENS_PER_ROW = 500
"""Of short conversations, for want of a count."""


class FolderConversations(RecordConversations):
    """Local parquet or JSONL files with a column of OpenAI `messages` or ShareGPT `conversations`."""

    kind: Literal["folder"]
    path: Path

    @property
    def folder(self) -> Path:
        return self.path

    def size(self) -> Size:
        text = (
            sum(file.stat().st_size for file in matching_files(self.path, self.files)) / COMPRESSION
        )
        tokens = max(1, round(text / BYTES_PER_TOKEN))
        return Size(max(1, tokens // TOKENS_PER_ROW), tokens)

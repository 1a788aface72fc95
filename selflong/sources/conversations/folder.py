"""Conversations on this file system."""

from pathlib import Path
from typing import Literal

from selflong.recipe.section import Section


class FolderConversations(Section):
    """Local parquet or JSONL files with a column of OpenAI `messages` or ShareGPT `conversations`."""

    kind: Literal["folder"]
    path: Path
    files: str = "*.parquet"
    column: Literal["messages", "conversations"] = "messages"

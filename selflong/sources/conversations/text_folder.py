"""Plain text on this file system."""

from pathlib import Path
from typing import Literal

from selflong.globs import matching_files
from selflong.sources.conversations.section import Size
from selflong.sources.conversations.text_rows import TextRows
from selflong.sources.documents.folder import TOKENS_PER_DOCUMENT
from selflong.sources.documents.section import BYTES_PER_TOKEN, COMPRESSION


class FolderText(TextRows):
    """Documents in local files, to train on as they are."""

    kind: Literal["text_folder"]
    path: Path

    @property
    def folder(self) -> Path:
        return self.path

    def size(self) -> Size:
        text = (
            sum(file.stat().st_size for file in matching_files(self.path, self.files)) / COMPRESSION
        )
        tokens = max(1, round(text / BYTES_PER_TOKEN))
        return Size(max(1, tokens // TOKENS_PER_DOCUMENT), tokens)

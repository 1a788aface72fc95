"""Plain text on this file system."""

from pathlib import Path
from typing import Literal

from selflong.globs import matching_files
from selflong.sources.conversations.section import Size, size_of_files
from selflong.sources.conversations.text_rows import TextRows
from selflong.sources.documents.folder import TOKENS_PER_DOCUMENT


class FolderText(TextRows):
    """Documents in local files, to train on as they are."""

    kind: Literal["text_folder"]
    path: Path
    """Of the folder."""

    @property
    def folder(self) -> Path:
        return self.path

    def size(self) -> Size:
        return size_of_files(matching_files(self.path, self.files), TOKENS_PER_DOCUMENT)

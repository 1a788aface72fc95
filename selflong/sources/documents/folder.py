"""Documents on this file system."""

from pathlib import Path
from typing import Literal

from selflong.globs import matching_files
from selflong.job import UserError
from selflong.sources.documents.section import (
    BYTES_PER_TOKEN,
    COMPRESSION,
    DocumentSection,
    Size,
)

TOKENS_PER_DOCUMENT = 1000
"""Of the web's documents, for want of a count."""


class FolderDocuments(DocumentSection):
    """Local parquet or JSONL files with at least the columns id and text."""

    kind: Literal["folder"]
    path: Path
    """Of the folder."""
    files: str = "*.parquet"
    """Glob of its files."""

    @property
    def label(self) -> str:
        return self.path.name

    @property
    def inputs(self) -> list[Path]:
        paths = matching_files(self.path, self.files)
        if not paths:
            raise UserError(
                f"{self.path}: no file matches {self.files!r}; correct `path` or `files` of the source"
            )
        return paths

    def fetch(self, folder: Path, token_variable: str) -> list[Path]:
        return self.inputs

    def size(self) -> Size:
        text = round(sum(file.stat().st_size for file in self.inputs) / COMPRESSION)
        tokens = round(text / BYTES_PER_TOKEN)
        return Size(max(1, tokens // TOKENS_PER_DOCUMENT), tokens, text)

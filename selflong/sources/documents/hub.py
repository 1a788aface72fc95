"""Documents of a dataset on the Hugging Face hub."""

from pathlib import Path
from typing import Literal

from selflong.recipe.section import Positive, Repository, Revision
from selflong.sources.documents.section import BYTES_PER_TOKEN, DocumentSection, Size


class HubDocuments(DocumentSection):
    """Parquet files of a dataset on the Hugging Face hub, with FineWeb-Edu's columns."""

    kind: Literal["hub"]
    repository: Repository
    revision: Revision
    files: str
    """Glob inside the repository."""
    rows: Positive
    """Published number of rows: what the plan counts with before anything is downloaded."""
    tokens: Positive
    """Published number of tokens."""
    bytes: Positive
    """Published size of the text."""

    @property
    def label(self) -> str:
        return self.repository

    def fetch(self, folder: Path, token_variable: str) -> list[Path]:
        from selflong import hub

        return hub.download_files(
            self.repository, self.revision, self.files, folder, token_variable, kind="dataset"
        )

    def size(self) -> Size:
        return Size(self.rows, self.tokens, round(self.tokens * BYTES_PER_TOKEN), self.bytes)

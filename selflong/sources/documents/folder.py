"""Documents on this file system."""

from pathlib import Path
from typing import Literal

from selflong.recipe.section import Section


class FolderDocuments(Section):
    """Local parquet or JSONL files with at least the columns id and text."""

    kind: Literal["folder"]
    path: Path
    files: str = "*.parquet"

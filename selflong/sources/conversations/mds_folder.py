"""Tokenised sequences in MDS shards on this file system."""

from pathlib import Path
from typing import Literal

from selflong.sources.conversations.mds import MdsRows


class FolderTokens(MdsRows):
    """Already tokenised sequences in local MDS shards."""

    kind: Literal["mds_folder"]
    path: Path
    """Of the folder."""
    files: str = "**"

    @property
    def folder(self) -> Path:
        return self.path

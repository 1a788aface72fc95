"""Tokenised sequences in MDS shards."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from selflong.job import UserError
from selflong.recipe.section import Download, Positive, Repository
from selflong.sources.conversations.mds_format import MdsFolder
from selflong.sources.conversations.rows import (
    LONG_ROWS,
    Chunk,
    Rejected,
    Row,
    Sequence,
    even_chunks,
)
from selflong.sources.conversations.section import ConversationSection, Size

BYTES_PER_TOKEN = 4


class HubTokens(ConversationSection):
    """Already tokenised sequences in MDS shards on the hub (ProLong)."""

    kind: Literal["mds"]
    repository: Repository
    revision: str
    files: str
    tokenizer: str
    """Model whose tokenizer made them; another one is refused."""
    rows: Positive
    tokens: Positive

    @property
    def download(self) -> Download:
        return Download(self.repository, self.revision, self.files)

    @property
    def samples_kind(self) -> str:
        return "pretraining"

    @property
    def tokenised_for(self) -> str:
        return self.tokenizer

    @property
    def download_bytes(self) -> float:
        return float(BYTES_PER_TOKEN * self.tokens)

    def size(self) -> Size:
        return Size(self.rows, self.tokens)

    def _holds_rows(self, path: Path) -> bool:
        return path.name == "index.json"

    def _name(self, path: Path) -> str:
        return path.parent.name

    def chunks_of_file(self, path: Path, name: str) -> Iterator[Chunk]:
        return even_chunks(path, name, len(MdsFolder(path.parent)), LONG_ROWS)

    def read(self, entry: str, chunk: Chunk) -> Iterator[Row]:
        """Each document of each row: `indices` tells where documents begin and end in `input_ids`, and `mask`
        which tokens the loss counts."""
        folder = MdsFolder(chunk.path.parent)
        for row in range(chunk.start, chunk.start + chunk.rows):
            record = folder[row]
            if "input_ids" not in record:
                raise UserError(f"{folder.path}: column 'input_ids' is missing")
            ids = record["input_ids"].astype(np.uint32, copy=False)
            targets = record.get("mask")
            if targets is not None and targets.shape != ids.shape:
                raise UserError(
                    f"{folder.path}: row {row}: mask has the shape {targets.shape}, but input_ids "
                    f"{ids.shape}; fetch it again"
                )
            bounds = record.get("indices", np.array([[0, len(ids)]]))
            for document, (start, end) in enumerate(bounds.tolist()):
                sample_id = f"{entry}/{chunk.name}:{row}:{document}"
                if end - start < 2:
                    yield Rejected(sample_id, self.samples_kind, "no_response")
                else:
                    own = None if targets is None else targets[start:end].astype(bool)
                    yield Sequence(sample_id, ids[start:end], own)

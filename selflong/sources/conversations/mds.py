"""Tokenised sequences in MDS shards."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from selflong.job import UserError
from selflong.recipe.section import Download, Positive, Repository, Revision
from selflong.sources.conversations.mds_format import MdsFolder
from selflong.sources.conversations.rows import LONG_ROWS, Chunk, Row, Sequence, even_chunks
from selflong.sources.conversations.section import ConversationSection, Size

BYTES_PER_TOKEN = 4


class MdsRows(ConversationSection):
    """A source whose rows are packed sequences of tokens in MDS shards, one folder a set of shards."""

    files: str
    """Glob of the folders' files."""
    tokenizer: str | list[str]
    """Model whose tokenizer made them, or several with the same; another one is refused."""
    rows: Positive
    """Number of rows."""
    tokens: Positive
    """Of all rows together."""
    document_tokens: Positive | None = None
    """Of a document inside of a row, on average; a row is one where it is null."""

    @property
    def samples_kind(self) -> str:
        return "pretraining"

    @property
    def tokenised_for(self) -> list[str]:
        return [self.tokenizer] if isinstance(self.tokenizer, str) else self.tokenizer

    @property
    def mean_document(self) -> int | None:
        return self.document_tokens

    def size(self) -> Size:
        return Size(self.rows, self.tokens)

    def _holds_rows(self, path: Path) -> bool:
        return path.name == "index.json"

    def _name(self, path: Path) -> str:
        return path.parent.name

    def chunks_of_file(self, path: Path, name: str) -> Iterator[Chunk]:
        return even_chunks(path, name, len(MdsFolder(path.parent)), LONG_ROWS)

    def read(self, entry: str, chunk: Chunk) -> Iterator[Row]:
        """Whole rows: `indices` tells where documents begin and end in `input_ids`, and `mask` which tokens
        the loss counts."""
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
            yield Sequence(
                f"{entry}/{chunk.name}:{row}",
                ids,
                None if targets is None else targets.astype(bool),
                _bounds(record, len(ids), f"{folder.path}: row {row}"),
            )


def _bounds(record: dict[str, np.ndarray], tokens: int, place: str) -> np.ndarray:
    """int64 [documents, 2]; UserError where they are none of a row of so many tokens."""
    bounds = record.get("indices", np.array([[0, tokens]])).astype(np.int64)
    if bounds.ndim != 2 or (np.diff(bounds.ravel(), prepend=0, append=tokens) < 0).any():
        raise UserError(
            f"{place}: indices must be pairs that rise from 0 to {tokens}, the row's tokens; fetch it again"
        )
    return bounds


class HubTokens(MdsRows):
    """Already tokenised sequences in MDS shards on the hub (ProLong)."""

    kind: Literal["mds"]
    repository: Repository
    revision: Revision

    @property
    def download(self) -> Download:
        return Download(self.repository, self.revision, self.files)

    @property
    def download_bytes(self) -> float:
        return float(BYTES_PER_TOKEN * self.tokens)

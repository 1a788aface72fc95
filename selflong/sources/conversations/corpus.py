"""The documents of one of the recipe's corpora, to train on as they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from selflong.sources.conversations.rows import (
    LONG_ROWS,
    Chunk,
    Document,
    Row,
    even_chunks,
    parquet_rows,
    parquet_slice,
)
from selflong.sources.conversations.section import ConversationSection


class CorpusDocuments(ConversationSection):
    """What a corpus keeps after its filters."""

    kind: Literal["corpus"]
    corpus: str
    """Of this recipe."""

    @property
    def samples_kind(self) -> str:
        return "pretraining"

    @property
    def of_corpus(self) -> str:
        return self.corpus

    def size(self) -> None:
        return None

    def chunks_of_file(self, path: Path, name: str) -> Iterator[Chunk]:
        return even_chunks(path, name, parquet_rows(path), LONG_ROWS)

    def read(self, entry: str, chunk: Chunk) -> Iterator[Row]:
        frame = parquet_slice(chunk.path, ["id", "text"], chunk.start, chunk.rows)
        for identifier, text in frame.rows():
            yield Document(f"{entry}/{identifier}", text)

"""Samples that the synthesis made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from selflong.formats import SAMPLES, check
from selflong.job import UserError
from selflong.sources.conversations.rows import (
    LONG_ROWS,
    Chunk,
    Conversation,
    Row,
    even_chunks,
    parquet_rows,
    parquet_schema,
    parquet_slice,
)
from selflong.sources.conversations.section import ConversationSection, Synthesised


class SynthesisedSamples(ConversationSection):
    """What `synthesis` made with one generator."""

    kind: Literal["synthesised"]
    generator: str
    samples: Literal["long_input", "long_output"]

    @property
    def samples_kind(self) -> str:
        return self.samples

    @property
    def synthesised(self) -> Synthesised:
        return Synthesised(self.generator, self.samples)

    def size(self) -> None:
        return None

    def chunks_of_file(self, path: Path, name: str) -> Iterator[Chunk]:
        return even_chunks(path, name, parquet_rows(path), LONG_ROWS)

    def read(self, entry: str, chunk: Chunk) -> Iterator[Row]:
        columns = parquet_schema(chunk.path).names()
        frame = parquet_slice(chunk.path, columns, chunk.start, chunk.rows)
        for row in check(frame, SAMPLES, str(chunk.path)).iter_rows(named=True):
            if row["kind"] != self.samples:
                raise UserError(
                    f"{chunk.path}: sample {row['sample_id']} is of the kind {row['kind']}, "
                    f"not {self.samples}"
                )
            yield Conversation(row["sample_id"], row["kind"], row["messages"])

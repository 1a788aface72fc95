"""Samples that the synthesis made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from selflong.formats import SAMPLES, check
from selflong.job import UserError
from selflong.sources.conversations.rows import (
    LONG_ROWS,
    Chunk,
    Conversation,
    Rejected,
    Row,
    even_chunks,
    parquet_rows,
    parquet_schema,
    parquet_slice,
)
from selflong.sources.conversations.section import ConversationSection, Synthesised
from selflong.tokens import Message

OTHER_FAMILY = "other_family"
"""Reason of rows that the entry does not ask for."""


class SynthesisedSamples(ConversationSection):
    """What `synthesis` made with one generator."""

    kind: Literal["synthesised"]
    generator: str
    """Of this recipe."""
    samples: Literal["long_input", "long_output", "document_tasks", "multi_hop"]
    """Which of its samples."""
    family: Literal["question", "passages", "summary"] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    """Of document_tasks those alone; all where it is null."""
    instruction_position: Literal["after", "both"] | None = None
    """Of long inputs made with the instruction before the documents: behind them instead, or there too."""

    @model_validator(mode="after")
    def _long_inputs_alone(self) -> Self:
        if self.instruction_position is not None and self.samples != "long_input":
            raise ValueError(f"instruction_position: {self.samples} has none to move; take it out")
        if self.family is not None and self.samples != "document_tasks":
            raise ValueError(f"family: {self.samples} is not divided so; take it out")
        return self

    @property
    def samples_kind(self) -> str:
        # Their responses alone are trained on, as those of conversations are.
        return "short" if self.samples in ("document_tasks", "multi_hop") else self.samples

    @property
    def synthesised(self) -> Synthesised:
        return Synthesised(self.generator, self.samples, self.instruction_position, self.family)

    def size(self) -> None:
        return None

    def chunks_of_file(self, path: Path, name: str) -> Iterator[Chunk]:
        return even_chunks(path, name, parquet_rows(path), LONG_ROWS)

    def read(self, entry: str, chunk: Chunk) -> Iterator[Row]:
        columns = parquet_schema(chunk.path).names()
        frame = parquet_slice(chunk.path, columns, chunk.start, chunk.rows)
        for row in check(frame, SAMPLES, str(chunk.path)).iter_rows(named=True):
            if self.family not in (None, row["family"]):
                yield Rejected(row["sample_id"], self.samples_kind, OTHER_FAMILY)
                continue
            if row["kind"] != self.samples_kind:
                raise UserError(
                    f"{chunk.path}: sample {row['sample_id']} is of the kind {row['kind']}, "
                    f"not {self.samples_kind}"
                )
            messages = row["messages"]
            if self.instruction_position is not None:
                messages = [_moved(messages[0], self.instruction_position), *messages[1:]]
            yield Conversation(row["sample_id"], row["kind"], messages)


def _moved(message: Message, position: Literal["after", "both"]) -> Message:
    """A question with its instruction behind the documents, or also there."""
    instruction, heading, *rest = message["parts"]
    closing = {"kind": "prompt", "text": f"\n\n{instruction['text']}"}
    if position == "both":
        return {**message, "parts": [*message["parts"], closing]}
    first = {**heading, "text": heading["text"].lstrip()}
    return {**message, "parts": [first, *rest, closing]}

"""Sequences of the recall study, drawn when they are read: token ids, without text."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import model_validator

from selflong.recall import RecallLanguage, answer_positions, random_sequences
from selflong.recipe.section import Positive, Seed
from selflong.sources.conversations.rows import Chunk, Row, Sequence, even_chunks
from selflong.sources.conversations.section import ConversationSection, Size


class RecallSequences(ConversationSection):
    """Sequences of the recall study, whose answers are trained on."""

    kind: Literal["recall"]
    language: RecallLanguage
    length: Positive
    """Of each sequence, in tokens."""
    sequences: Positive
    """Number of them."""
    seed: Seed

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        self.language.refuse_shorter(self.length)
        return self

    @property
    def vocabulary(self) -> int:
        return self.language.vocabulary

    def size(self) -> Size:
        return Size(self.sequences, self.sequences * self.length)

    def input_files(self, given: Iterable[Path]) -> list[Path]:
        return []

    def chunks(self, files: Iterable[Path]) -> list[Chunk]:
        return list(self.chunks_of_file(Path(), str(self.length)))

    def chunks_of_file(self, path: Path, name: str) -> Iterator[Chunk]:
        """All in one, as they are drawn together."""
        return even_chunks(path, name, self.sequences, self.sequences)

    def read(self, entry: str, chunk: Chunk) -> Iterator[Row]:
        rng = np.random.default_rng([self.seed, self.length])
        learned = np.zeros(self.length, dtype=bool)
        learned[answer_positions(self.language, self.length)] = True
        drawn = random_sequences(self.language, self.length, self.sequences, rng)
        for row, ids in enumerate(drawn):
            yield Sequence(f"{entry}/{chunk.name}:{row}", ids, learned, kind=self.samples_kind)

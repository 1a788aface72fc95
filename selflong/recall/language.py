"""The language of the recall study: needles in filler, queried at the end.

A sequence is: start, a body of filler with needles at random places, separator, then queries. A needle
is one token that stands for a (key, value) pair; a query is a key followed by its value, the answer.
Only answers are trained on, so the loss measures recall over the body and nothing else.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selflong.formats import SEQUENCES, PackedFiles, TokenRole, publish, table, write_parquet
from selflong.job import UserError

START = 1
SEPARATOR = 2
_FIRST_KEY = 3  # 0 is padding


@dataclass(frozen=True)
class Language:
    """Sizes of the vocabulary, and what each sequence holds of it."""

    keys: int
    values: int
    needles: int
    queries: int
    fillers: int

    def __post_init__(self) -> None:
        if self.needles > self.keys:
            raise UserError(
                f"recall.needles: {self.needles} needles need as many keys, not {self.keys}"
            )
        if self.queries > self.needles:
            raise UserError(
                f"recall.queries: only the {self.needles} needles can be asked for, "
                f"not {self.queries}"
            )

    @property
    def first_value(self) -> int:
        return _FIRST_KEY + self.keys

    @property
    def first_filler(self) -> int:
        return self.first_value + self.values

    @property
    def first_needle(self) -> int:
        return self.first_filler + self.fillers

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.first_needle + self.keys * self.values

    @property
    def shortest(self) -> int:
        """The length that the needles and queries alone take."""
        return 2 + self.needles + 2 * self.queries

    def answer_positions(self, length: int) -> NDArray[np.int64]:
        """Where the answers stand in a sequence [queries]; the token before each is its key."""
        return np.arange(length - 2 * self.queries + 1, length, 2)

    def sequences(self, length: int, count: int, rng: np.random.Generator) -> NDArray[np.uint32]:
        """Random sequences [count, length]. Raises UserError where the length holds no filler."""
        if length <= self.shortest:
            raise UserError(
                f"recall.lengths: {length} is too short, needles and queries take {self.shortest}"
            )
        body = length - 2 - 2 * self.queries
        tokens = self.first_filler + rng.integers(self.fillers, size=(count, length))
        tokens[:, 0] = START
        tokens[:, 1 + body] = SEPARATOR
        keys = rng.random((count, self.keys)).argsort(1)[:, : self.needles]
        values = rng.integers(self.values, size=keys.shape)
        places = 1 + rng.random((count, body)).argsort(1)[:, : self.needles]
        needles = self.first_needle + keys * self.values + values
        np.put_along_axis(tokens, places, needles, 1)
        # Keys are in random order already: the first needles are as good a choice as any.
        answers = self.answer_positions(length)
        tokens[:, answers - 1] = _FIRST_KEY + keys[:, : self.queries]
        tokens[:, answers] = self.first_value + values[:, : self.queries]
        return tokens.astype(np.uint32)


def write_packed(
    language: Language, length: int, packed_tokens: int, sequences: int, seed: int, output: Path
) -> None:
    """Publish ``sequences`` packed sequences of ``packed_tokens // length`` documents of ``length`` tokens.

    The same files that the mixture writes; documents are short samples, whose responses are the answers.
    """
    documents = packed_tokens // length
    if documents == 0:
        raise UserError(f"recall: a document of {length} tokens does not fit {packed_tokens}")
    rng = np.random.default_rng([seed, length])
    tokens = language.sequences(length, sequences * documents, rng)
    roles = np.full(tokens.shape, TokenRole.PROMPT, dtype=np.uint8)
    roles[:, language.answer_positions(length)] = TokenRole.RESPONSE
    size = documents * length
    rows = [
        {
            "sequence_id": index,
            "offset": index * size,
            "tokens": size,
            "document_bounds": [i * length for i in range(documents + 1)],
            "sample_ids": [f"{length}-{index * documents + i}" for i in range(documents)],
            "kinds": ["short"] * documents,
        }
        for index in range(sequences)
    ]
    with publish(output) as partial:
        partial.mkdir(parents=True)
        np.save(partial / PackedFiles.INPUT_IDS, tokens.reshape(-1))
        np.save(partial / PackedFiles.ROLES, roles.reshape(-1))
        write_parquet(table(rows, SEQUENCES), partial / PackedFiles.SEQUENCES, SEQUENCES)

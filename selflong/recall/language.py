"""The language of the recall study: needles in filler, queried at the end.

A sequence is: start, a body of filler with needles at random places, separator, then queries. A needle
is one token that stands for a (key, value) pair; a query is a key followed by its value, the answer.
Only answers are trained on, so the loss measures recall over the body and nothing else.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selflong.formats import SEQUENCES, PackedFiles, TokenRole, publish, table, write_parquet
from selflong.job import UserError
from selflong.recipe.recall import RecallData, RecallLanguage

START = 1
SEPARATOR = 2


def answer_positions(language: RecallLanguage, length: int) -> NDArray[np.int64]:
    """Where the answers stand in a sequence [queries]; the token before each is its key."""
    return np.arange(length - 2 * language.queries + 1, length, 2)


def random_sequences(
    language: RecallLanguage, length: int, count: int, rng: np.random.Generator
) -> NDArray[np.uint32]:
    """Sequences [count, length]. Raises UserError where the length holds no filler."""
    if length <= language.shortest:
        raise UserError(
            f"recall: {length} tokens are too few, needles and queries take {language.shortest}"
        )
    body = length - 2 - 2 * language.queries
    tokens = language.first_filler + rng.integers(language.fillers, size=(count, length))
    tokens[:, 0] = START
    tokens[:, 1 + body] = SEPARATOR
    keys = rng.random((count, language.keys)).argsort(1)[:, : language.needles]
    values = rng.integers(language.values, size=keys.shape)
    places = 1 + rng.random((count, body)).argsort(1)[:, : language.needles]
    needles = language.first_needle + keys * language.values + values
    np.put_along_axis(tokens, places, needles, 1)
    # Keys are in random order already: the first needles are as good a choice as any.
    answers = answer_positions(language, length)
    tokens[:, answers - 1] = language.first_key + keys[:, : language.queries]
    tokens[:, answers] = language.first_value + values[:, : language.queries]
    return tokens.astype(np.uint32)


def write_packed(
    *, language: RecallLanguage, data: RecallData, packed_tokens: int, output: Path
) -> None:
    """Publish packed sequences of as many whole documents as ``packed_tokens`` hold.

    The same files that the mixture writes; documents are short samples, whose responses are the answers.
    """
    together = packed_tokens // data.length
    if together == 0:
        raise UserError(
            f"recall: a document of {data.length} tokens does not fit a stage of {packed_tokens}"
        )
    rng = np.random.default_rng([data.seed, data.length])
    sequences = data.documents // together
    tokens = random_sequences(language, data.length, sequences * together, rng)
    roles = np.full(tokens.shape, TokenRole.PROMPT, dtype=np.uint8)
    roles[:, answer_positions(language, data.length)] = TokenRole.RESPONSE
    size = together * data.length
    rows = [
        {
            "sequence_id": index,
            "offset": index * size,
            "tokens": size,
            "document_bounds": [i * data.length for i in range(together + 1)],
            "sample_ids": [f"{data.length}-{index * together + i}" for i in range(together)],
            "kinds": ["short"] * together,
        }
        for index in range(sequences)
    ]
    with publish(output) as partial:
        partial.mkdir(parents=True)
        np.save(partial / PackedFiles.INPUT_IDS, tokens.reshape(-1))
        np.save(partial / PackedFiles.ROLES, roles.reshape(-1))
        write_parquet(table(rows, SEQUENCES), partial / PackedFiles.SEQUENCES, SEQUENCES)

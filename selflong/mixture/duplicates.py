"""Which rows of a mixture repeat another one: exactly after normalisation, then nearly, by MinHash-LSH."""

from pathlib import Path

import numpy as np
import polars as pl

from selflong.recipe.mixture import Deduplication
from selflong.similarity import near_duplicates
from selflong.tokens import Message

EXACT = "duplicate"
NEAR = "near_duplicate"


def compared_text(messages: list[Message]) -> str:
    """What of a sample is compared: its prompts and responses.

    The retrieved documents of long inputs are not: many samples rightly share documents, and a few hundred
    words of instruction and answer would drown in them.
    """
    return "\n".join(
        part["text"]
        for message in messages
        for part in message["parts"]
        if part["kind"] != "document"
    )


def find_exact(keys: pl.Series) -> np.ndarray:
    """bool [rows]: whether an earlier row has the same key (similarity.exact_key)."""
    return ~keys.is_first_distinct().to_numpy()


def find_near(
    signature_files: list[Path], rows: list[np.ndarray], settings: Deduplication
) -> np.ndarray:
    """bool [selected rows]: whether an earlier selected row is nearly the same.

    `rows` are the selected rows of each file of signatures (uint32 [rows, permutations]), in the order of
    priority. The signatures of all stand in memory: 4 bytes a permutation and row.
    """
    matrix = np.empty((sum(map(len, rows)), settings.permutations), dtype=np.uint32)
    start = 0
    for path, selected in zip(signature_files, rows, strict=True):
        matrix[start : start + len(selected)] = np.load(path, mmap_mode="r")[selected]
        start += len(selected)
    return near_duplicates(matrix, settings.threshold) >= 0

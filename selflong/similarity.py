"""What two texts share: exact equality after normalisation, near-duplicates by MinHash, n-gram overlap.

Near-duplicates follow MinHash with banded locality-sensitive hashing (Leskovec, Rajaraman and Ullman, Mining
of Massive Datasets, chapter 3); signatures come from rensa's R-MinHash.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import rensa
import xxhash

# Chinese and Japanese write no spaces: each character is a word.
_IDEOGRAPH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPH}]|[^\W{_IDEOGRAPH}]+")
_WORD_OR_SYMBOL = re.compile(rf"[{_IDEOGRAPH}]|[^\W{_IDEOGRAPH}]+|[^\w\s]")

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_EMPTY = np.uint32(0xFFFFFFFF)
_SIGNATURE_ROWS = 4096
_MAXIMUM_WORDS_CACHED = 1 << 20
MINIMUM_OVERLAP_WORDS = 8
"""A text with fewer words is too common to tell an overlap from chance."""


def normalise(text: str) -> str:
    """`text` in Unicode's compatible form, without case, its white space collapsed; symbols stay."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def exact_key(text: str) -> bytes:
    """16 bytes that are equal for texts that are equal after normalisation."""
    return xxhash.xxh3_128_digest(normalise(text).encode())


class _WordHashes(dict[str, int]):
    """Word -> 64-bit hash, the same in every process; forgets all when it is full."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _MAXIMUM_WORDS_CACHED:
            self.clear()
        value = self[word] = xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))
        return value


_word_hashes = _WordHashes()


def _hashes(pattern: re.Pattern[str], text: str) -> np.ndarray:
    """uint64 [words]"""
    found = pattern.findall(unicodedata.normalize("NFKC", text).casefold())
    return np.fromiter(map(_word_hashes.__getitem__, found), np.uint64, len(found))


def _combine(words: np.ndarray, ngram: int) -> np.ndarray:
    """uint64 [words - ngram + 1]: a hash of each run of `ngram` words."""
    count = len(words) - ngram + 1
    if count <= 0:
        return np.empty(0, np.uint64)
    combined = words[:count].copy()
    for position in range(1, ngram):
        combined *= _MULTIPLIER
        combined ^= combined >> np.uint64(29)
        combined += words[position : position + count]
    return combined


def ngram_hashes(text: str, ngram: int) -> np.ndarray:
    """uint64 [n-grams]: of the text's words and symbols; a shorter text is one n-gram, an empty one none."""
    words = _hashes(_WORD_OR_SYMBOL, text)
    return _combine(words, min(ngram, max(len(words), 1)))


def jaccard(first: str, second: str, ngram: int) -> float:
    """Exact Jaccard similarity of two texts' sets of n-grams; 0 where one of them is empty."""
    one, other = set(ngram_hashes(first, ngram).tolist()), set(ngram_hashes(second, ngram).tolist())
    return len(one & other) / len(one | other) if one and other else 0.0


def signatures(texts: Sequence[str], ngram: int, permutations: int, seed: int = 1) -> np.ndarray:
    """uint32 [texts, permutations]: MinHash signatures; a text without words has all bits set."""
    result = np.empty((len(texts), permutations), dtype=np.uint32)
    for start in range(0, len(texts), _SIGNATURE_ROWS):
        rows = [ngram_hashes(text, ngram) for text in texts[start : start + _SIGNATURE_ROWS]]
        offsets = np.cumsum([0, *(len(row) for row in rows)]).tolist()
        matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
            np.concatenate(rows), offsets, permutations, seed
        )
        result[start : start + len(rows)] = matrix.to_rows()
    return result


def bands(threshold: float, permutations: int) -> tuple[int, int]:
    """Number of bands and of rows a band: the longest that still meet at the threshold 98 times in 100."""
    for rows in range(permutations, 1, -1):
        count = permutations // rows
        if 1 - (1 - threshold**rows) ** count >= 0.98:
            return count, rows
    return permutations, 1


def near_duplicates(matrix: np.ndarray, threshold: float) -> np.ndarray:
    """int64 [rows]: the earlier row that a row nearly repeats, or -1 for a row that stays.

    What comes first stays: row by row, a row is a duplicate where its estimated Jaccard similarity to an
    earlier row that stays is at least `threshold`; of several such rows the earliest is named. `matrix`
    (uint32 [rows, permutations], from `signatures`) may be memory-mapped. Needs about 100 bytes a row for one
    band at a time, and 16 bytes for each row and band that meets another row.
    """
    duplicate_of = np.full(len(matrix), -1, dtype=np.int64)
    rows, buckets = _meetings(matrix, threshold)
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    ends = np.append(starts, len(rows))[1:]
    stays: dict[int, list[int]] = {}
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        row = int(rows[start])
        mine = buckets[start:end].tolist()
        earlier = sorted({other for bucket in mine for other in stays.get(bucket, ())})
        if earlier:
            similar = np.mean(matrix[earlier] == matrix[row], axis=1) >= threshold
            if similar.any():
                duplicate_of[row] = earlier[int(np.argmax(similar))]
                continue
        for bucket in mine:
            stays.setdefault(bucket, []).append(row)
    return duplicate_of


def _meetings(matrix: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows (ascending) and the numbers of the buckets in which each meets at least one other row."""
    count, width = bands(threshold, matrix.shape[1])
    rows: list[np.ndarray] = [np.empty(0, np.int64)]
    buckets: list[np.ndarray] = [np.empty(0, np.int64)]
    next_bucket = 0
    nonempty = np.flatnonzero((matrix != _EMPTY).any(axis=1))
    for band in range(count):
        columns = matrix[:, band * width : (band + 1) * width][nonempty].astype(np.uint64)
        keys = _combine_columns(columns)
        order = np.argsort(keys, kind="stable")
        first = np.diff(keys[order], prepend=keys[order[:1]] + np.uint64(1)) != 0
        last = np.append(first[1:], True)[: len(first)]
        shared = ~(first & last)
        rows.append(nonempty[order[shared]])
        buckets.append(next_bucket + np.cumsum(first[shared]))
        next_bucket += int(first[shared].sum()) + 1
    all_rows, all_buckets = np.concatenate(rows), np.concatenate(buckets)
    order = np.argsort(all_rows, kind="stable")
    return all_rows[order], all_buckets[order]


def _combine_columns(columns: np.ndarray) -> np.ndarray:
    """uint64 [rows]: one hash of each row's columns."""
    combined = columns[:, 0].copy()
    for position in range(1, columns.shape[1]):
        combined *= _MULTIPLIER
        combined ^= combined >> np.uint64(29)
        combined += columns[:, position]
    return combined


def find_duplicates(
    texts: Sequence[str], ngram: int, threshold: float, permutations: int = 128, seed: int = 1
) -> np.ndarray:
    """int64 [texts]: the earlier text that a text nearly repeats, or -1 for a text that stays."""
    return near_duplicates(signatures(texts, ngram, permutations, seed), threshold)


@dataclass(frozen=True)
class Overlap:
    """What a text shares with one text of an index."""

    index: int
    """Position of the indexed text in the order of adding."""
    shared: int
    """Number of the text's n-grams that the indexed text holds too."""
    share: float
    """Share of the indexed text's n-grams that occur in the text."""
    excerpt: str
    """Words of the first shared n-gram."""


class OverlapIndex:
    """Finds texts that share a run of words with indexed ones (case, symbols and spacing do not count).

    An indexed text with fewer than `ngram` words, but at least MINIMUM_OVERLAP_WORDS, is matched as a whole;
    a shorter one never.
    """

    def __init__(self, texts: Iterable[str], ngram: int) -> None:
        self._ngram = ngram
        hashes: dict[int, list[np.ndarray]] = {}
        owners: dict[int, list[np.ndarray]] = {}
        sizes: list[int] = []
        for index, text in enumerate(texts):
            words = _hashes(_WORD, text)
            length = min(ngram, len(words))
            if length < min(ngram, MINIMUM_OVERLAP_WORDS):
                sizes.append(0)
                continue
            own = np.unique(_combine(words, length))
            sizes.append(len(own))
            hashes.setdefault(length, []).append(own)
            owners.setdefault(length, []).append(np.full(len(own), index))
        self._sizes = sizes
        self._tables: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for length, parts in hashes.items():
            keys = np.concatenate(parts)
            order = np.argsort(keys, kind="stable")
            self._tables[length] = keys[order], np.concatenate(owners[length])[order]

    def __len__(self) -> int:
        return len(self._sizes)

    def overlaps(self, text: str) -> list[Overlap]:
        """What `text` shares with each indexed text that it shares anything with, in the order of adding."""
        words = _hashes(_WORD, text)
        found: list[Overlap] = []
        for length, (keys, owners) in sorted(self._tables.items()):
            own = _combine(words, length)
            low = np.searchsorted(keys, own, side="left")
            matching = np.searchsorted(keys, own, side="right") - low
            for index, positions in _by_owner(low, matching, owners).items():
                distinct = len(np.unique(own[positions]))
                found.append(
                    Overlap(
                        index,
                        len(positions),
                        distinct / self._sizes[index],
                        _excerpt(text, min(positions), length),
                    )
                )
        return sorted(found, key=lambda overlap: overlap.index)


def _by_owner(low: np.ndarray, matching: np.ndarray, owners: np.ndarray) -> dict[int, list[int]]:
    """Owner -> positions of the n-grams that it shares."""
    positions: dict[int, list[int]] = {}
    for position in np.flatnonzero(matching).tolist():
        start = low[position]
        for owner in owners[start : start + matching[position]].tolist():
            positions.setdefault(owner, []).append(position)
    return positions


def _excerpt(text: str, first_word: int, length: int) -> str:
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words[first_word : first_word + length])

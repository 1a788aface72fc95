"""What two texts share: exact equality after normalisation, near-duplicates by MinHash, n-gram overlap.

Near-duplicates follow MinHash with banded locality-sensitive hashing (Leskovec, Rajaraman and Ullman, Mining
of Massive Datasets, chapter 3); signatures come from rensa's R-MinHash.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import rensa
import xxhash

# Chinese and Japanese write no spaces: each character is a word.
_IDEOGRAPHS = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF))
_IDEOGRAPH = "".join(f"{chr(first)}-{chr(last)}" for first, last in _IDEOGRAPHS)
_WORD = re.compile(rf"[{_IDEOGRAPH}]|[^\W{_IDEOGRAPH}]+")

_SPACE, _LETTER, _WORD_OF_ONE, _SYMBOL = range(4)

_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_EMPTY = np.uint32(0xFFFFFFFF)
_BATCH_CHARACTERS = 1 << 18
_SIGNATURE_ROWS = 4096
MINIMUM_OVERLAP_WORDS = 8
"""A text with fewer words is too common to tell an overlap from chance."""


def normalise(text: str) -> str:
    """`text` in Unicode's compatible form, without case, its white space collapsed; symbols stay."""
    return " ".join(_fold(text).split())


def exact_key(text: str) -> bytes:
    """16 bytes that are equal for texts that are equal after normalisation."""
    return xxhash.xxh3_128_digest(normalise(text).encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=1)
def _character_classes() -> np.ndarray:
    """uint8 [all code points]"""
    classes = np.full(0x110000, _SYMBOL, dtype=np.uint8)
    for code in range(len(classes)):
        character = chr(code)
        if character.isalnum() or character == "_":
            classes[code] = _LETTER
        elif character.isspace():
            classes[code] = _SPACE
    for first, last in _IDEOGRAPHS:
        classes[first : last + 1] = _WORD_OF_ONE
    return classes


@lru_cache(maxsize=1)
def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [count]: powers of the multiplier and of its inverse."""
    factors = np.full((2, count), _MULTIPLIER, dtype=np.uint64)
    factors[1] = pow(_MULTIPLIER, -1, 1 << 64)
    factors[:, 0] = 1
    powers, inverses = np.cumprod(factors, axis=1, dtype=np.uint64)
    return powers, inverses


def _mix(values: np.ndarray) -> np.ndarray:
    """uint64: every bit depends on every bit (the finaliser of MurmurHash3)."""
    values = values ^ (values >> np.uint64(33))
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


def _fold(text: str) -> str:
    """Compatible form without case; ASCII has no other form."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _word_hashes(texts: Sequence[str], symbols: bool) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [words] of all texts, and int64 [texts + 1]: where each text's words begin and end.

    A word is a run of letters, digits and underscores, an ideograph, or (with `symbols`) another sign.
    """
    folded = [_fold(text) for text in texts]
    hashes, counts = [np.empty(0, np.uint64)], [0]
    for batch in _batches(folded):
        lengths = np.array([len(text) + 1 for text in batch])
        joined = "\n".join(batch) + "\n"
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        own, starts = _hash_words(codes, symbols)
        hashes.append(own)
        counts.extend(np.diff(np.searchsorted(starts, np.cumsum([0, *lengths]))).tolist())
    return np.concatenate(hashes), np.cumsum(counts)


def _batches(texts: list[str]) -> Iterator[list[str]]:
    """Texts in order, some at a time; a long one alone."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        if batch and characters + len(text) >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text) + 1
    if batch:
        yield batch


def _hash_words(codes: np.ndarray, symbols: bool) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [words], each a polynomial of its characters' codes, and where each starts."""
    classes = _character_classes()[codes]
    if not symbols:
        classes[classes == _SYMBOL] = _SPACE
    letters = classes == _LETTER
    begins = classes != _SPACE
    begins[1:] &= ~(letters[1:] & letters[:-1])
    starts = np.flatnonzero(begins)
    if len(starts) == 0:
        return np.empty(0, np.uint64), starts
    powers, inverses = _powers(max(_BATCH_CHARACTERS, 1 << len(codes).bit_length()))
    values = (codes + np.uint64(1)) * powers[: len(codes)]
    values[classes == _SPACE] = 0
    return _mix(np.add.reduceat(values, starts) * inverses[starts]), starts


def _combine(words: np.ndarray, ngram: int) -> np.ndarray:
    """uint64 [words - ngram + 1]: a hash of each run of `ngram` words."""
    count = max(0, len(words) - ngram + 1)
    combined = words[:count].copy()
    for position in range(1, ngram):
        combined *= np.uint64(_MULTIPLIER)
        combined += words[position : position + count]
    return _mix(combined)


def _ngrams(texts: Sequence[str], ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [n-grams] of all texts, and int64 [texts + 1]: where each text's n-grams begin and end."""
    words, bounds = _word_hashes(texts, symbols=True)
    counts = np.diff(bounds)
    long = counts >= ngram
    ngram_counts = np.where(long, counts - ngram + 1, counts > 0)
    ngram_bounds = np.concatenate([[0], np.cumsum(ngram_counts)])
    hashes = np.empty(ngram_bounds[-1], dtype=np.uint64)
    inside = np.arange(len(words)) + ngram <= np.repeat(bounds[1:], counts)
    whole = _combine(words, ngram)
    hashes[np.repeat(long, ngram_counts)] = whole[inside[: len(whole)]]
    for length in range(1, ngram):
        rows = np.flatnonzero(counts == length)
        runs = words[bounds[rows][:, None] + np.arange(length)]
        hashes[ngram_bounds[rows]] = _combine_columns(runs)
    return hashes, ngram_bounds


def ngram_hashes(text: str, ngram: int) -> np.ndarray:
    """uint64 [n-grams]: of the text's words and symbols; a shorter text is one n-gram, an empty one none."""
    return _ngrams([text], ngram)[0]


def jaccard(first: str, second: str, ngram: int) -> float:
    """Exact Jaccard similarity of two texts' sets of n-grams; 0 where one of them is empty."""
    one, other = set(ngram_hashes(first, ngram).tolist()), set(ngram_hashes(second, ngram).tolist())
    return len(one & other) / len(one | other) if one and other else 0.0


def nearest_jaccard(texts: Sequence[str], ngram: int) -> np.ndarray:
    """float64 [texts]: similarity of each text to the one that is most like it; 0 of a text alone."""
    sets = [set(ngram_hashes(text, ngram).tolist()) for text in texts]
    nearest = np.zeros(len(texts))
    for row, one in enumerate(sets):
        for other, another in enumerate(sets[:row]):
            shared = len(one & another)
            likeness = shared / max(1, len(one) + len(another) - shared)
            nearest[row], nearest[other] = (
                max(nearest[row], likeness),
                max(nearest[other], likeness),
            )
    return nearest


def signatures(texts: Sequence[str], ngram: int, permutations: int, seed: int = 1) -> np.ndarray:
    """uint32 [texts, permutations]: MinHash signatures; a text without words has all bits set."""
    result = np.empty((len(texts), permutations), dtype=np.uint32)
    for start in range(0, len(texts), _SIGNATURE_ROWS):
        hashes, bounds = _ngrams(texts[start : start + _SIGNATURE_ROWS], ngram)
        matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
            hashes, bounds.tolist(), permutations, seed
        )
        rows = chain.from_iterable(matrix.to_rows())
        count = len(bounds) - 1
        result[start : start + count] = np.fromiter(rows, np.uint32, count * permutations).reshape(
            count, permutations
        )
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
    nonempty = np.flatnonzero(matrix[:, 0] != _EMPTY)
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
        combined *= np.uint64(_MULTIPLIER)
        combined += columns[:, position]
    return _mix(combined)


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
            words, _ = _word_hashes([text], symbols=False)
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
        words, _ = _word_hashes([text], symbols=False)
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
    words = _WORD.findall(_fold(text))
    return " ".join(words[first_word : first_word + length])

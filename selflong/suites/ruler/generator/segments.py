"""Segments of text (a word, a line, a document) with their tokens, and where tokens of segments add up.

A prompt is a chain of segments. The tokens of a chain are those of its segments, one after the other, where
the tokenizer splits the text at every border before it looks for tokens. `Encoder.adds_up` proves that
for the kinds of borders that the tasks use; where it does not hold, every count comes from encoding the
whole text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain as joined
from itertools import product
from typing import Protocol

import numpy as np
import tokenizers

from selflong.tokens import Rendered

# A border stands before one space and after a line's end; each kind of character stands on either side.
_ENDS = ("word", "Word", "42", "x.", "x)", 'x"', "x'", "x%", "x…", "é", "中", "ñ\u0301", "🙂", "α")
_STARTS = ("word", "Word", "42", ".", "(", '"', "'s", "%", "…", "é", "中", "🙂", "α", "-a", "...")
_BORDERS = (
    *((end, f" {start}") for end, start in product(_ENDS, _STARTS)),
    *((f"{end}\n", start) for end, start in product(_ENDS, _STARTS)),
    *((f"{end}\n\n", start) for end, start in product(_ENDS, _STARTS)),
    *((f"{end}\n", f" {start}") for end, start in product(_ENDS, _STARTS)),
    *((f"{end} \n", start) for end, start in product(_ENDS, _STARTS)),
    *((f"{end} ", f" {start}") for end, start in product(_ENDS, _STARTS)),
    # The hyphen of a key, and of a noun such as x-ray.
    *((end, f"-{start}") for end, start in product(("word", "Word"), ("word", "Word"))),
    # The colon after a document's number.
    *((end, f":\n{start}") for end, start in product(("Document 1", "Document 1234"), _STARTS)),
)


class Tokens(Protocol):
    """What the generator asks of a selflong.tokens.Tokenizer."""

    bos_id: int | None
    plain: tokenizers.Tokenizer

    def __hash__(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: np.ndarray) -> str: ...

    def render(self, messages: Sequence[dict], add_generation_prompt: bool = False) -> Rendered: ...


@dataclass(frozen=True)
class Chain:
    """Segments in a row: their text, and their tokens where these add up."""

    text: str
    ids: np.ndarray
    """int32 [tokens]"""

    def __len__(self) -> int:
        return len(self.ids)


def chained(chains: Iterable[Chain]) -> Chain:
    """One chain after the other."""
    chains = list(chains)
    return Chain(
        "".join(chain.text for chain in chains), np.concatenate([chain.ids for chain in chains])
    )


class Encoder:
    """A tokenizer as the tasks use it."""

    def __init__(self, tokenizer: Tokens) -> None:
        self.tokenizer = tokenizer
        self.chain = lru_cache(maxsize=65536)(self._make_chain)

    def encode(self, text: str) -> np.ndarray:
        """int32 [tokens] of plain text."""
        (encoding,) = self.tokenizer.plain.encode_batch_fast([text], add_special_tokens=False)
        return np.array(encoding.ids, dtype=np.int32)

    def encode_many(self, texts: Sequence[str], before: str = "") -> list[list[int]]:
        """Ids of each text where the text `before` follows: white space at a text's end can depend on it."""
        encodings = self.tokenizer.plain.encode_batch_fast(
            [text + before for text in texts], add_special_tokens=False
        )
        if not before:
            return [encoding.ids for encoding in encodings]
        kept = -len(self.chain(before))
        return [encoding.ids[:kept] for encoding in encodings]

    def _make_chain(self, text: str, before: str = "") -> Chain:
        """A short text as one segment."""
        (ids,) = self.encode_many([text], before)
        return Chain(text, np.array(ids, dtype=np.int32))

    @cached_property
    def adds_up(self) -> bool:
        """Whether the tokens of segments add up at every kind of border.

        The pre-tokenizer must split there whatever the segments are; the tokens of representatives must agree
        too, since a normalizer or a prefix space could still change them.
        """
        pre_tokenizer = self.tokenizer.plain.pre_tokenizer
        if pre_tokenizer is None:
            return False
        for left, right in _BORDERS:
            pieces = pre_tokenizer.pre_tokenize_str(left + right)
            if not any(start == len(left) for _, (start, _) in pieces):
                return False
            (left_ids,) = self.encode_many([left], before="word" if left[-2:].isspace() else "")
            if self.encode(left + right).tolist() != [*left_ids, *self.encode(right)]:
                return False
        return True


class SegmentTable:
    """Many segments by number; a context is a row of numbers."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.texts: list[str] = []
        self._ids = _Growing(np.int32)
        self._starts = _Growing(np.int64)
        self._counts = _Growing(np.int64)

    def add(self, texts: Sequence[str], before: str = "") -> np.ndarray:
        """int64 [texts]: the numbers of new segments; `before` follows each of them in a prompt."""
        first = len(self.texts)
        lists = self.encoder.encode_many(texts, before)
        counts = np.fromiter(map(len, lists), np.int64, len(lists))
        self.texts += texts
        self._counts.extend(counts)
        self._starts.extend(len(self._ids) + np.cumsum(counts) - counts)
        self._ids.extend(np.fromiter(joined.from_iterable(lists), np.int32, int(counts.sum())))
        return np.arange(first, len(self.texts))

    def copy(self) -> "SegmentTable":
        """A table of the same segments that grows by itself."""
        copy = SegmentTable(self.encoder)
        copy.texts += self.texts
        copy._ids.extend(self._ids.values)
        copy._starts.extend(self._starts.values)
        copy._counts.extend(self._counts.values)
        return copy

    @property
    def counts(self) -> np.ndarray:
        """int64 [segments]: tokens of each."""
        return self._counts.values

    def chain(self, numbers: np.ndarray | Sequence[int]) -> Chain:
        """The segments of these numbers in a row."""
        numbers = np.asarray(numbers, dtype=np.int64)
        lengths = self.counts[numbers]
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        shift = self._starts.values[numbers] - (ends - lengths)
        ids = self._ids.values[np.repeat(shift, lengths) + np.arange(total)]
        texts = self.texts
        return Chain("".join([texts[number] for number in numbers.tolist()]), ids)


class _Growing:
    """An array that grows at its end; what it takes over all is linear in what is added."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._room = np.empty(0, dtype)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    @property
    def values(self) -> np.ndarray:
        return self._room[: self._used]

    def extend(self, values: np.ndarray) -> None:
        used = self._used + len(values)
        if used > len(self._room):
            grown = np.empty(max(used, 2 * len(self._room)), self._room.dtype)
            grown[: self._used] = self.values
            self._room = grown
        self._room[self._used : used] = values
        self._used = used

"""Units of text (a word, a line, a document) with their tokens, and where tokens of units add up.

A prompt is a chain of units. The tokens of a chain are those of its units, one after the other, where
the tokenizer splits the text at every border before it looks for tokens. `Encoder.adds_up` proves that
for the kinds of borders that the tasks use; where it does not hold, every count comes from encoding the
whole text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
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
    """Units in a row: their text, and their tokens where these add up."""

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
        kept = -len(self.encode(before)) or None
        return [encoding.ids[:kept] for encoding in encodings]

    def _make_chain(self, text: str, before: str = "") -> Chain:
        """A short text as one unit."""
        (ids,) = self.encode_many([text], before)
        return Chain(text, np.array(ids, dtype=np.int32))

    @cached_property
    def adds_up(self) -> bool:
        """Whether the tokens of units add up at every kind of border.

        The pre-tokenizer must split there whatever the units are; the tokens of representatives must agree
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


@dataclass
class UnitTable:
    """Many units by number; a context is a row of numbers."""

    encoder: Encoder
    texts: list[str] = field(default_factory=list)
    _pending: list[list[int]] = field(default_factory=list)
    _ids: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    _starts: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=np.int64))

    def add(self, texts: Sequence[str], before: str = "") -> np.ndarray:
        """int64 [texts]: the numbers of new units; `before` follows each of them in a prompt."""
        first = len(self.texts)
        self.texts += texts
        self._pending += self.encoder.encode_many(texts, before)
        return np.arange(first, len(self.texts))

    def followed_by(self, other: "UnitTable") -> "UnitTable":
        """A table with the units of both; the numbers of `other` are shifted by the length of this one."""
        self._settle()
        other._settle()
        return UnitTable(
            self.encoder,
            self.texts + other.texts,
            [],
            np.concatenate([self._ids, other._ids]),
            np.concatenate([self._starts, self._starts[-1] + other._starts[1:]]),
        )

    @property
    def counts(self) -> np.ndarray:
        """int64 [units]: tokens of each."""
        self._settle()
        return np.diff(self._starts)

    def chain(self, numbers: np.ndarray | Sequence[int]) -> Chain:
        """The units of these numbers in a row."""
        self._settle()
        numbers = np.asarray(numbers, dtype=np.int64)
        lengths = self._starts[numbers + 1] - self._starts[numbers]
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        shift = self._starts[numbers] - (ends - lengths)
        ids = self._ids[np.repeat(shift, lengths) + np.arange(total)]
        texts = self.texts
        return Chain("".join([texts[number] for number in numbers.tolist()]), ids)

    def _settle(self) -> None:
        if not self._pending:
            return
        lengths = np.array([len(ids) for ids in self._pending], dtype=np.int64)
        flat = np.fromiter(
            (token for ids in self._pending for token in ids), np.int32, int(lengths.sum())
        )
        self._ids = np.concatenate([self._ids, flat])
        self._starts = np.concatenate([self._starts, self._starts[-1] + np.cumsum(lengths)])
        self._pending = []

"""Counting words: common words extraction (cwe) and frequent words extraction (fwe)."""

import string
from functools import cached_property

import numpy as np
from scipy.special import zeta

from selflong.evaluation.ruler.sources import Sources, load_counting_words, load_more_words
from selflong.evaluation.ruler.tasks import (
    COMMON_WORDS_TOKENS,
    FREQUENT_WORDS_TOKENS,
    Body,
    Draw,
)
from selflong.evaluation.ruler.units import Encoder, UnitTable, chained

COMMON = 10
SHORT_LENGTH = 4096
"""Below this many tokens the lists of cwe repeat their words less."""


class CommonWordsTask:
    """cwe: which ten words stand most often in a numbered list."""

    generation_tokens = COMMON_WORDS_TOKENS
    intro = (
        "Below is a numbered list of words. In these words, some appear more often than others. "
        "Memorize the ones that appear most often.\n"
    )
    question = "Question: What are the 10 most common words in the above list?"
    answer_prefix = " Answer: The top 10 words that appear most often in the list are:"

    def __init__(self, encoder: Encoder, sources: Sources, length: int) -> None:
        self._encoder = encoder
        self._sources = sources
        self._numbers = UnitTable(encoder)
        if length < SHORT_LENGTH:
            self._example_words, self._example_repeats, self._repeats = 20, (3, 1), (6, 1)
        else:
            self._example_words, self._example_repeats, self._repeats = 40, (10, 3), (30, 3)

    @cached_property
    def _words(self) -> tuple[str, ...]:
        return load_counting_words()

    @cached_property
    def _word_units(self) -> UnitTable:
        table = UnitTable(self._encoder)
        table.add([f" {word}" for word in self._words])
        return table

    def _word_units_for(self, count: int) -> UnitTable:
        """Units of at least `count` words."""
        table = self._word_units
        if count > len(table.texts):
            more = load_more_words(self._sources)
            added = len(table.texts) - len(self._words)
            table.add([f" {word}" for word in more[added : count - len(self._words)]])
        return table

    def _number_sums(self, count: int) -> np.ndarray:
        """int64 [at least count + 1]: tokens of the first numbers of a list."""
        known = len(self._numbers.texts)
        if known < count:
            self._numbers.add([f" {n}." for n in range(known + 1, max(count, 2 * known) + 1)])
        return np.concatenate([[0], np.cumsum(self._numbers.counts)])

    def entries(self, words: int) -> int:
        """Entries of a list with so many words."""
        common, other = self._repeats
        return COMMON * common + (words - COMMON) * other

    def draw(self, rng: np.random.Generator, index: int, budget: int) -> Draw:
        """Words in slots that are drawn afresh for each sample; the size is in words."""
        common, other = self._repeats
        wanted = self._example_words + max(COMMON + 1, budget // (3 * other))
        available = len(self._words)
        if wanted > available:
            available += len(load_more_words(self._sources))
        table = self._word_units_for(available if wanted > len(self._words) else len(self._words))
        # Words of wonderwords first; more only where these are too few.
        ranked = np.concatenate(
            [
                rng.permutation(len(self._words)),
                len(self._words) + rng.permutation(len(table.texts) - len(self._words)),
            ]
        )
        example, words = ranked[: self._example_words], ranked[self._example_words :]
        example_order = _repeated(example, len(example), self._example_repeats)
        before = "".join(
            [
                self._list_text(rng.permutation(example_order)),
                f"\n{self.question}{self.answer_prefix} ",
                " ".join(f"{n}.{table.texts[word]}" for n, word in enumerate(example[:COMMON], 1)),
                f"\n{self.intro}1.",
            ]
        )
        opening = self._encoder.chain(self.intro + before)
        prefix = self._encoder.chain(self.answer_prefix)
        word_counts = table.counts[words]
        sums = np.concatenate([[0], np.cumsum(word_counts)])
        (first_number,) = self._numbers_counts(1)
        seed = int(rng.integers(2**63))

        def order(size: int) -> np.ndarray:
            slots = _repeated(words, size, self._repeats)
            return np.random.default_rng(seed).permutation(slots)

        def closing(size: int) -> str:
            return f"{table.texts[order(size)[-1]]}\n{self.question}"

        def tokens(size: int) -> int:
            entries = self.entries(size)
            listed = common * sums[COMMON] + other * (sums[size] - sums[COMMON])
            numbers = self._number_sums(entries)[entries] - first_number
            last = order(size)[-1]
            return int(
                len(opening)
                + numbers
                + listed
                - table.counts[last]
                + len(self._encoder.chain(closing(size)))
                + len(prefix)
            )

        def body(size: int) -> Body:
            slots = order(size)
            self._number_sums(len(slots))
            both = table.followed_by(self._numbers)
            units = np.empty(2 * len(slots) - 2, dtype=np.int64)
            units[0::2] = slots[:-1]
            units[1::2] = len(table.texts) + np.arange(1, len(slots))
            message = chained([opening, both.chain(units), self._encoder.chain(closing(size))])
            answers = [table.texts[word][1:] for word in words[:COMMON]]
            return Body(message, self.answer_prefix, answers, [])

        per_word = other * (word_counts.mean() + 4)
        return Draw(
            COMMON + 1,
            min(len(words) - 1, max(COMMON + 1, int((budget - len(opening)) / per_word))),
            tokens,
            body,
        )

    def _numbers_counts(self, count: int) -> np.ndarray:
        self._number_sums(count)
        return self._numbers.counts[:count]

    def _list_text(self, slots: np.ndarray) -> str:
        texts = self._word_units.texts
        return " ".join(f"{n}.{texts[word]}" for n, word in enumerate(slots.tolist(), 1))


def _repeated(words: np.ndarray, size: int, repeats: tuple[int, int]) -> np.ndarray:
    """The first ten of `size` words `repeats[0]` times each, the others `repeats[1]` times."""
    common, other = repeats
    return np.concatenate([np.repeat(words[:COMMON], common), np.repeat(words[COMMON:size], other)])


class FrequentWordsTask:
    """fwe: which three coded words stand most often, after dots that stand more often still."""

    generation_tokens = FREQUENT_WORDS_TOKENS
    intro = (
        "Read the following coded text and track the frequency of each coded word. "
        "Find the three most frequently appeared coded words."
    )
    question = (
        "Question: Do not provide any explanation. Please ignore the dots '....'. "
        "What are the three most frequently appeared words in the above coded text?"
    )
    answer_prefix = (
        " Answer: According to the coded text above, the three most frequently appeared words are:"
    )
    word_letters = 6
    exponent = 2.0

    def __init__(self, encoder: Encoder, length: int) -> None:
        self._encoder = encoder
        self._vocabulary_size = max(5, length // 50)
        ranks = np.arange(1, self._vocabulary_size + 1)
        self._shares = ranks**-self.exponent / zeta(self.exponent)

    def draw(self, rng: np.random.Generator, index: int, budget: int) -> Draw:
        """Coded words by rank; the size is how many words a full zeta distribution would give."""
        words = self._draw_words(rng)
        table = UnitTable(self._encoder)
        table.add([" ...", *(f" {word}" for word in words)])
        seed = int(rng.integers(2**63))
        opening = self._encoder.chain(self.intro)
        prefix = self._encoder.chain(self.answer_prefix)

        def order(size: int) -> np.ndarray:
            slots = np.repeat(np.arange(self._vocabulary_size), self.frequencies(size))
            return np.random.default_rng(seed).permutation(slots)

        def closing(size: int) -> str:
            return f"{table.texts[order(size)[-1]]}\n{self.question}"

        def tokens(size: int) -> int:
            counted = int(self.frequencies(size) @ table.counts)
            ending = self._encoder.chain(closing(size))
            last = int(table.counts[order(size)[-1]])
            return len(opening) + counted - last + len(ending) + len(prefix)

        def body(size: int) -> Body:
            message = chained(
                [opening, table.chain(order(size)[:-1]), self._encoder.chain(closing(size))]
            )
            return Body(message, self.answer_prefix, list(words[:3]), [])

        per_word = float(self._shares @ table.counts)
        smallest = self._smallest()
        return Draw(smallest, max(smallest, int((budget - len(opening)) / per_word)), tokens, body)

    def frequencies(self, size: int) -> np.ndarray:
        """int64 [vocabulary]: how often the word of each rank stands in the text."""
        return (size * self._shares).astype(np.int64)

    def _smallest(self) -> int:
        """The size from which the fourth rank is more frequent than the fifth at every larger size."""
        # Shares differ by more than one word from here on, whatever the rounding.
        return int(np.ceil(1 / (self._shares[3] - self._shares[4])))

    def _draw_words(self, rng: np.random.Generator) -> tuple[str, ...]:
        letters = np.array(list(string.ascii_lowercase))
        words: dict[str, None] = {}
        while len(words) < self._vocabulary_size - 1:
            drawn = letters[rng.integers(26, size=(self._vocabulary_size, self.word_letters))]
            words.update(dict.fromkeys(map("".join, drawn.tolist())))
        return tuple(words)[: self._vocabulary_size - 1]

"""Counting words: common words extraction (cwe) and frequent words extraction (fwe)."""

import math
import string
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from selflong.suites.ruler.generator.segments import Chain, Encoder, SegmentTable, chained
from selflong.suites.ruler.generator.sources import Sources, load_counting_words, load_more_words
from selflong.suites.ruler.generator.tasks import Body, Draw
from selflong.suites.ruler.section import ANSWER_TOKENS

COMMON = 10
_UNREACHABLE = 2**62
"""Tokens of a list that needs more words than there are."""
SHORT_LENGTH = 4096
"""Below this many tokens the lists of cwe repeat their words less."""


class CommonWordsTask:
    """cwe: which ten words stand most often in a numbered list."""

    generation_tokens = ANSWER_TOKENS["cwe"]
    intro = (
        "Below is a numbered list of words. In these words, some appear more often than others. "
        "Memorize the ones that appear most often.\n"
    )
    question = "Question: What are the 10 most common words in the above list?"
    answer_prefix = " Answer: The top 10 words that appear most often in the list are:"

    def __init__(self, encoder: Encoder, sources: Sources, length: int) -> None:
        self._encoder = encoder
        self._sources = sources
        self._segments = SegmentTable(encoder)
        self.usual_words = self._segments.add([f" {word}" for word in load_counting_words()])
        """Segments of the words of wonderwords."""
        self._number_segments = np.zeros(0, dtype=np.int64)
        self._number_sums = np.zeros(1, dtype=np.int64)
        if length < SHORT_LENGTH:
            self.example_words, self.example_repeats, self.repeats = 20, (3, 1), (6, 1)
        else:
            self.example_words, self.example_repeats, self.repeats = 40, (10, 3), (30, 3)

    def draw(self, rng: np.random.Generator, index: int, budget: int) -> Draw:
        """Words in slots that are drawn afresh for each sample; the size is in words.

        The words of wonderwords come first, others only where these are too few.
        """
        words = rng.permutation(self.usual_words)
        example, words = words[: self.example_words], words[self.example_words :]
        slots = rng.permutation(repeated(example, self.example_repeats))
        opening = self.example(slots, example[:COMMON], separator=" ")
        seed = int(rng.integers(2**63))

        def order(size: int) -> np.ndarray:
            slots = repeated(words[:size], self.repeats)
            return np.random.default_rng(seed).permutation(slots)

        drawn = self.fill(opening, words, order, budget)
        if drawn.tokens(len(words)) > budget:
            return drawn
        words = np.concatenate([words, rng.permutation(self.more_words)])
        return self.fill(opening, words, order, budget)

    @cached_property
    def more_words(self) -> np.ndarray:
        """Segments of the words beyond wonderwords."""
        return self._segments.add([f" {word}" for word in load_more_words(self._sources)])

    def word(self, segment: int) -> str:
        """The word of a segment."""
        return self._segments.texts[segment][1:]

    def example(self, slots: np.ndarray, common: np.ndarray, separator: str) -> Chain:
        """The worked example up to the number of a new list; `separator` stands before its answer."""
        answers = " ".join(
            f"{number}. {self.word(segment)}" for number, segment in enumerate(common.tolist(), 1)
        )
        ending = f"{self.answer_prefix}{separator}{answers}\n{self.intro}1."
        return chained([self._start, self._listed(slots), self._closing(slots[-1], ending)])

    def fill(
        self, opening: Chain, words: np.ndarray, order: Callable[[int], np.ndarray], budget: int
    ) -> Draw:
        """A list of `words` (segments, [words], the ten common ones first) after the worked example.

        `order` gives the segments of all entries of a list of so many words.
        """
        prefix = self._encoder.chain(self.answer_prefix)
        common, other = self.repeats
        counts = self._segments.counts[words]
        sums = np.concatenate([[0], np.cumsum(counts)])

        def tokens(size: int) -> int:
            if size > len(words):
                return _UNREACHABLE
            slots = order(size)
            listed = common * sums[COMMON] + other * (sums[size] - sums[COMMON])
            self._numbers(len(slots))
            return int(
                len(opening)
                + (self._number_sums[len(slots)] - self._number_sums[1])
                + (listed - self._segments.counts[slots[-1]])
                + len(self._closing(slots[-1]))
                + len(prefix)
            )

        def body(size: int) -> Body:
            slots = order(size)
            message = chained([opening, self._listed(slots), self._closing(slots[-1])])
            answers = [self.word(segment) for segment in words[:COMMON].tolist()]
            return Body(message, self.answer_prefix, answers, [])

        per_word = other * (float(counts.mean()) + 4)
        guess = int((budget - len(opening)) / per_word)
        return Draw(COMMON + 1, min(len(words), max(COMMON + 1, guess)), tokens, body)

    @cached_property
    def _start(self) -> Chain:
        return self._encoder.chain(f"{self.intro}1.")

    def _listed(self, slots: np.ndarray) -> Chain:
        """Words of a list that begins with its first number, without the last word."""
        segments = np.empty(2 * len(slots) - 2, dtype=np.int64)
        segments[0::2] = slots[:-1]
        segments[1::2] = self._numbers(len(slots))[1:]
        return self._segments.chain(segments)

    def _closing(self, last: int, ending: str = "") -> Chain:
        """The last word of a list, the question, and what follows it."""
        return self._encoder.chain(f"{self._segments.texts[last]}\n{self.question}{ending}")

    def _numbers(self, count: int) -> np.ndarray:
        """Segments of the first numbers of a list; their tokens are added up in `_number_sums`."""
        known = len(self._number_segments)
        if known < count:
            last = max(count, known + known // 4)
            more = self._segments.add([f" {number}." for number in range(known + 1, last + 1)])
            self._number_segments = np.concatenate([self._number_segments, more])
            counts = self._segments.counts[self._number_segments]
            self._number_sums = np.concatenate([[0], np.cumsum(counts)])
        return self._number_segments[:count]


def repeated(words: np.ndarray, repeats: tuple[int, int]) -> np.ndarray:
    """The first ten words `repeats[0]` times each, the others `repeats[1]` times."""
    return np.concatenate(
        [np.tile(words[:COMMON], repeats[0]), np.tile(words[COMMON:], repeats[1])]
    )


class FrequentWordsTask:
    """fwe: which three coded words stand most often, after dots that stand more often still."""

    generation_tokens = ANSWER_TOKENS["fwe"]
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
        self.vocabulary_size = max(5, length // 50)
        self._weights = np.arange(1, self.vocabulary_size + 1) ** -self.exponent

    def draw(self, rng: np.random.Generator, index: int, budget: int) -> Draw:
        """Coded words by rank; the size is how many words a full zeta distribution would give."""
        words = self._draw_words(rng)
        seed = int(rng.integers(2**63))
        return self.fill(
            words, lambda slots: np.random.default_rng(seed).permutation(slots), budget
        )

    def fill(
        self, words: Sequence[str], shuffled: Callable[[np.ndarray], np.ndarray], budget: int
    ) -> Draw:
        """Dots as the first rank, then `words` by rank, in the order that `shuffled` gives their slots."""
        table = SegmentTable(self._encoder)
        table.add([" ..."])
        opening = self._encoder.chain(self.intro)
        prefix = self._encoder.chain(self.answer_prefix)

        def occurring(size: int) -> np.ndarray:
            """Frequencies of the ranks that occur at all: few, and only they are tokenised."""
            frequencies = self.frequencies(size)
            frequencies = frequencies[: np.count_nonzero(frequencies)]
            known = len(table.texts)
            if known < len(frequencies):
                table.add([f" {word}" for word in words[known - 1 : len(frequencies) - 1]])
            return frequencies

        def counted(size: int) -> int:
            frequencies = occurring(size)
            return int(frequencies @ table.counts[: len(frequencies)])

        def order(size: int) -> np.ndarray:
            frequencies = occurring(size)
            return shuffled(np.repeat(np.arange(len(frequencies)), frequencies))

        def closing(last: int) -> Chain:
            return self._encoder.chain(f"{table.texts[last]}\n{self.question}")

        def tokens(size: int) -> int:
            last = int(order(size)[-1])
            ended = counted(size) - int(table.counts[last])
            return len(opening) + ended + len(closing(last)) + len(prefix)

        def body(size: int) -> Body:
            slots = order(size)
            message = chained([opening, table.chain(slots[:-1]), closing(int(slots[-1]))])
            return Body(message, self.answer_prefix, list(words[:3]), [])

        smallest = self._smallest()
        probe = max(budget, smallest)
        guess = (budget - len(opening)) * probe // counted(probe)
        return Draw(smallest, max(smallest, guess), tokens, body)

    @cached_property
    def _total(self) -> float:
        """Of the weights of a full zeta distribution."""
        from scipy.special import zeta

        return float(zeta(self.exponent))

    def frequencies(self, size: int) -> np.ndarray:
        """int64 [vocabulary]: how often the word of each rank stands in the text."""
        return (size * self._weights / self._total).astype(np.int64)

    def _smallest(self) -> int:
        """The size from which the fourth rank is more frequent than the fifth at every larger size."""
        # The frequencies before rounding differ by one word from here on.
        return math.ceil(self._total / (self._weights[3] - self._weights[4]))

    def _draw_words(self, rng: np.random.Generator) -> tuple[str, ...]:
        letters = np.array(list(string.ascii_lowercase))
        words: dict[str, None] = {}
        while len(words) < self.vocabulary_size - 1:
            drawn = letters[rng.integers(26, size=(self.vocabulary_size, self.word_letters))]
            words.update(dict.fromkeys(map("".join, drawn.tolist())))
        return tuple(words)[: self.vocabulary_size - 1]

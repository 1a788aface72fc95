"""What needles are hidden in: essays cut into sentences, or lines."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from selflong.suites.ruler.generator.segments import Chain, Encoder, SegmentTable, chained
from selflong.suites.ruler.generator.sources import (
    Sources,
    haystack_text,
    load_words_of_haystack,
    sentence_splitter,
)

NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."

# Where a text is cut short, only its last sentences can be cut otherwise than in the whole text.
_UNSETTLED_SENTENCES = 4


@dataclass(frozen=True)
class Sentences:
    """The first words of a haystack, cut into sentences; each is a segment that begins with a space."""

    copied: SegmentTable
    numbers: np.ndarray
    """int64 [sentences but for the last few]: which of `copied`"""
    last: SegmentTable
    borders: np.ndarray
    """int64 [sentences + 1]: tokens before each sentence and after the last"""

    def __len__(self) -> int:
        return len(self.borders) - 1

    def text(self, position: int) -> str:
        """One sentence, with its space."""
        late = position - len(self.numbers)
        return self.last.texts[late] if late >= 0 else self.copied.texts[self.numbers[position]]

    def chain(self, start: int, stop: int) -> Chain:
        """The sentences from `start` to `stop`."""
        late = np.arange(max(start, len(self.numbers)), stop) - len(self.numbers)
        return chained([self.copied.chain(self.numbers[start:stop]), self.last.chain(late)])


class Essays:
    """A haystack of running text: any number of words, repeated where it is too short."""

    def __init__(self, encoder: Encoder, sources: Sources) -> None:
        self._encoder = encoder
        self._sources = sources
        self._words = load_words_of_haystack(sources.essays)
        self._splitter = sentence_splitter(sources.nltk_data)
        self.cut = lru_cache(maxsize=256)(self._cut)

    def __len__(self) -> int:
        """Words of one copy."""
        return len(self._words)

    @cached_property
    def _copy(self) -> str:
        return haystack_text(self._sources.essays)

    @cached_property
    def _word_ends(self) -> np.ndarray:
        """int64 [words]: where each ends in the copy."""
        return np.cumsum([len(word) + 1 for word in self._words]) - 1

    @cached_property
    def _spans(self) -> np.ndarray:
        """int64 [sentences, 2]: characters of the copy."""
        return _sentence_spans(self._sources)

    @cached_property
    def _table(self) -> SegmentTable:
        table = SegmentTable(self._encoder)
        table.add([f" {self._copy[start:end]}" for start, end in self._spans])
        return table

    @cached_property
    def _sums(self) -> np.ndarray:
        """int64 [sentences + 1]: tokens of the copy before each sentence."""
        return np.concatenate([[0], np.cumsum(self._table.counts)])

    def words_for(self, tokens: int) -> int:
        """About how many words hold `tokens` tokens."""
        copies, rest = divmod(tokens, int(self._sums[-1]))
        sentence = int(np.searchsorted(self._sums, rest, side="right")) - 1
        start, end = self._spans[sentence]
        share = (rest - self._sums[sentence]) / self._table.counts[sentence]
        reached = int(start + share * (end - start))
        return copies * len(self._words) + int(np.searchsorted(self._word_ends, reached))

    def _cut(self, words: int) -> Sentences:
        """The first `words` words as NLTK would cut them, found without cutting all of them again."""
        copies, rest = divmod(words - 1, len(self._words))
        end = copies * (len(self._copy) + 1) + int(self._word_ends[rest])
        complete = int(np.searchsorted(self._spans[:, 1], int(self._word_ends[rest]), side="right"))
        settled = max(0, copies * len(self._spans) + complete - _UNSETTLED_SENTENCES)
        begin = self._start(settled)
        last = SegmentTable(self._encoder)
        last.add([f" {text}" for text in self._splitter.tokenize(self._raw(begin, end).strip())])
        numbers = np.arange(settled) % len(self._spans)
        counts = np.concatenate([self._table.counts[numbers], last.counts])
        return Sentences(self._table, numbers, last, np.concatenate([[0], np.cumsum(counts)]))

    def _start(self, sentence: int) -> int:
        copies, rest = divmod(sentence, len(self._spans))
        return copies * (len(self._copy) + 1) + int(self._spans[rest, 0])

    def _raw(self, begin: int, end: int) -> str:
        """Characters `begin` to `end` of the endless haystack: copies with a space between them."""
        period = len(self._copy) + 1
        first, offset = divmod(begin, period)
        copies = (end - 1) // period - first + 1
        if copies == 1:
            return self._copy[offset : offset + end - begin]
        return " ".join([self._copy] * copies)[offset : offset + end - begin]


@lru_cache(maxsize=2)
def load_essays(encoder: Encoder, sources: Sources) -> Essays:
    """The haystack, its sentences tokenised once for all tasks."""
    return Essays(encoder, sources)


@lru_cache(maxsize=2)
def _sentence_spans(sources: Sources) -> np.ndarray:
    copy = haystack_text(sources.essays).rstrip()
    return np.array(list(sentence_splitter(sources.nltk_data).span_tokenize(copy)))


@dataclass(frozen=True)
class Lines:
    """A haystack of lines; each is a row of segments that ends the line."""

    table: SegmentTable
    numbers: np.ndarray
    """int64 [lines, segments of a line]"""

    @cached_property
    def borders(self) -> np.ndarray:
        """int64 [lines + 1]: tokens before each line and after the last."""
        counts = self.table.counts[self.numbers].sum(axis=1)
        return np.concatenate([[0], np.cumsum(counts)])

    def chain(self, start: int, stop: int) -> Chain:
        """The lines from `start` to `stop`."""
        return self.table.chain(self.numbers[start:stop].reshape(-1))


def noise_lines(encoder: Encoder, lines: int) -> Lines:
    """The noise line again and again."""
    table = SegmentTable(encoder)
    table.add([f"{NOISE}\n"])
    return Lines(table, np.zeros((lines, 1), dtype=np.int64))

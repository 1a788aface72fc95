"""What the reference's code does, draw by draw: the convention ruler_2024.

It draws from one stream of random numbers per task, also while it searches for a size, so that the same seed
and tokenizer give the prompts that the reference gives: the code of 2024-12 (NVIDIA/RULER dd4c2ad, and the
package nvidia-long-context-eval 26.3), whose sizes grow by steps and whose sources are not repeated. Where
the reference would go over the limit or never end, one more step is taken off instead.
"""

import random
import string
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import numpy as np

from selflong.suites.ruler.generator.aggregation import (
    COMMON,
    CommonWordsTask,
    FrequentWordsTask,
    repeated,
)
from selflong.suites.ruler.generator.haystacks import noise_lines
from selflong.suites.ruler.generator.needles import (
    Hidden,
    Keys,
    Needle,
    NeedleTask,
    UuidKeys,
    WordKeys,
)
from selflong.suites.ruler.generator.questions import ANSWER_PREFIX, QuestionTask
from selflong.suites.ruler.generator.segments import Encoder
from selflong.suites.ruler.generator.sizing import TooShort
from selflong.suites.ruler.generator.sources import Question, load_key_words
from selflong.suites.ruler.generator.tasks import Body, Draw

SHORT_LENGTH = 4096
_MOST_REDRAWN = 20
"""Samples of the smallest size that are drawn before none is said to fit; the reference never stops."""
_DEPTHS = tuple(np.round(np.linspace(0, 100, num=40)).astype(int).tolist())


class Stream:
    """The reference's random numbers: Python's and NumPy's generators from one seed."""

    def __init__(self, seed: int) -> None:
        self.python = random.Random(seed)
        self.numpy = np.random.RandomState(seed)
        self.frozen = lru_cache(maxsize=8)(lambda size: _shuffle(seed, size))


def _shuffle(seed: int, size: int) -> np.ndarray:
    """int64 [size]: the order into which the reference's frozen shuffle brings any list of this size."""
    order = list(range(size))
    random.Random(seed).shuffle(order)
    return np.array(order, dtype=np.int64)


@dataclass(frozen=True)
class Candidate:
    """One drawn sample of a given size."""

    tokens: int
    """Of message and answer prefix."""
    with_answer: int
    """The same with the answer, which the reference counts while its sizes grow by steps."""
    body: Callable[[], Body]


class ReferenceTask(ABC):
    """A task as the reference draws it; every draw moves the stream of random numbers on."""

    step = 10
    source_size: int | None = None
    """Sizes end here."""
    draws_beyond_source = False
    """Whether one sample is drawn beyond the source before sizes end there."""

    def __init__(self, encoder: Encoder, stream: Stream) -> None:
        self._encoder = encoder
        self._stream = stream

    @abstractmethod
    def draw(self, index: int, size: int) -> Candidate:
        """A sample drawn in search of a size."""

    def sample(self, index: int, size: int) -> Candidate:
        """A sample to keep."""
        return self.draw(index, size)


def stepwise_size(task: ReferenceTask, budget: int) -> int:
    """ruler_2024: the last size, growing by steps, at which one drawn sample fits with its answer."""
    size = task.step
    total = 0
    while total < budget:
        total = task.draw(0, size).with_answer
        if total > budget:
            return size - task.step
        beyond = size if task.draws_beyond_source else size + task.step
        if task.source_size is not None and beyond > task.source_size:
            return task.source_size
        size += task.step
    return size


def reference_bodies(task: ReferenceTask, size: int, budget: int) -> Iterator[Body]:
    """Samples of a size, each drawn again in smaller steps while it does not fit the budget.

    Raises TooShort where the smallest size does not fit.
    """
    for index in count():
        used = max(size, task.step)
        redrawn = 0
        while (candidate := task.sample(index, used)).tokens > budget:
            if used > task.step:
                used -= task.step
            elif redrawn < _MOST_REDRAWN:
                redrawn += 1
            else:
                raise TooShort(index, candidate.tokens)
        yield candidate.body()


def candidate(encoder: Encoder, draw: Draw, size: int, prefix: str, answer: str) -> Candidate:
    tokens = draw.tokens(size)
    added = len(encoder.chain(prefix + answer)) - len(encoder.chain(prefix))
    return Candidate(tokens, tokens + added, lambda: draw.body(size))


class NeedleReference(ReferenceTask):
    """The eight needle tasks."""

    draws_beyond_source = True

    def __init__(self, task: NeedleTask, encoder: Encoder, stream: Stream, length: int) -> None:
        super().__init__(encoder, stream)
        self._task = task
        self.step = 500 if task.spec.haystack == "essays" else 25 if length >= SHORT_LENGTH else 5
        in_essays = task.spec.haystack == "essays"
        self.source_size = len(task.essays) if in_essays else None

    def draw(self, index: int, size: int) -> Candidate:
        spec, python = self._task.spec, self._stream.python
        keys: list[str] = []
        values: list[list[str]] = []
        for _ in range(spec.keys):
            keys += self._keys([self._draw_key()]).texts([0])
            values.append([self._draw_value() for _ in range(spec.values)])
        needles = [
            Needle(key, value) for key, group in zip(keys, values, strict=True) for value in group
        ]
        needles = [needles[position] for position in self._stream.frozen(len(needles))]
        if spec.haystack == "essays":
            depths = python.sample(_DEPTHS, len(needles))
            hidden = self._ask(needles, keys, values, lambda borders: _sentences(depths, borders))
            size = size if self.source_size is None else min(size, self.source_size)
            draw = self._task.hide_in_essays(hidden, 0)
        else:
            lines = noise_lines(self._encoder, size)
            if spec.haystack == "needles":
                drawn = [(self._draw_key(), self._draw_value()) for _ in range(size)]
                lines = self._task.needle_lines(
                    self._keys([key for key, _ in drawn]), 0, [value for _, value in drawn]
                )
            places = sorted(python.sample(range(size), len(needles)))
            hidden = self._ask(needles[::-1], keys, values, lambda borders: places)
            draw = self._task.hide_in_lines(hidden, lines, 0)
        prefix = self._task.answer_prefix(hidden)
        return candidate(self._encoder, draw, size, prefix, " ".join(hidden.answers))

    def _ask(
        self,
        needles: Sequence[Needle],
        keys: Sequence[str],
        values: Sequence[Sequence[str]],
        places: Callable[[np.ndarray], Sequence[int]],
    ) -> Hidden:
        spec = self._task.spec
        asked = self._stream.python.sample(range(spec.keys), spec.queries)
        return Hidden(
            needles=tuple(needles),
            queries=tuple(keys[position] for position in asked),
            answers=tuple(value for position in asked for value in values[position]),
            places=places,
        )

    def _draw_key(self) -> int | str:
        if self._task.spec.key_kind == "uuids":
            return self._draw_uuid()
        return self._stream.python.choice(range(len(load_key_words().order)))

    def _draw_value(self) -> str:
        if self._task.spec.value_kind == "uuids":
            return self._draw_uuid()
        return str(self._stream.python.randint(10**6, 10**7 - 1))

    def _draw_uuid(self) -> str:
        return str(uuid.UUID(int=self._stream.python.getrandbits(128), version=4))

    def _keys(self, drawn: Sequence[int | str]) -> Keys:
        if self._task.spec.key_kind == "uuids":
            return UuidKeys(tuple(str(key) for key in drawn))
        words = load_key_words()
        numbers = words.order[np.array(drawn, dtype=np.int64)]
        return WordKeys(words, *np.divmod(numbers, len(words.nouns)))


def _sentences(depths: Sequence[int], borders: np.ndarray) -> list[int]:
    return sorted(int((len(borders) - 1) * (depth / 100)) for depth in depths)


class CommonWordsReference(ReferenceTask):
    """cwe, with slots that are the same in every sample of a size."""

    def __init__(self, task: CommonWordsTask, encoder: Encoder, stream: Stream) -> None:
        super().__init__(encoder, stream)
        self._task = task
        self._words = task.usual_words[stream.frozen(len(task.usual_words))]
        self.source_size = len(self._words)

    def draw(self, index: int, size: int) -> Candidate:
        task = self._task
        example = self._draw_words(task.example_words)
        slots = repeated(example, task.example_repeats)
        opening = task.example(
            slots[self._stream.frozen(len(slots))],
            example[:COMMON],
            separator="",
        )
        words = self._draw_words(size)

        def order(_: int) -> np.ndarray:
            slots = repeated(words, task.repeats)
            return slots[self._stream.frozen(len(slots))]

        draw = task.fill(opening, words, order, 0)
        answers = [task.word(segment) for segment in words[:COMMON].tolist()]
        answer = "".join(f" {number}. {text}" for number, text in enumerate(answers, 1))
        return candidate(self._encoder, draw, size, task.answer_prefix, answer)

    def _draw_words(self, size: int) -> np.ndarray:
        """Segments of the words."""
        return self._words[self._stream.python.sample(range(len(self._words)), size)]


class QuestionReference(ReferenceTask):
    """qa, with the question's documents at places that depend on the number of documents alone."""

    def __init__(self, task: QuestionTask, encoder: Encoder, stream: Stream) -> None:
        super().__init__(encoder, stream)
        self._task = task
        self._pool = np.arange(len(task.questions.documents))
        self.source_size = len(self._pool)

    def draw(self, index: int, size: int) -> Candidate:
        question = self._task.question(index)
        if size < len(self._pool):
            documents = self._pool[self._draw_documents(question, size)]
            documents = documents[self._stream.frozen(size)]
        else:
            # The reference shuffles its only copy, again in every sample.
            self._pool = self._pool[self._stream.frozen(size)]
            documents = self._pool
        draw = self._task.fill(question, documents, np.arange, 0)
        answer = f" {list(question.answers)}"
        return candidate(self._encoder, draw, len(documents), ANSWER_PREFIX, answer)

    def _draw_documents(self, question: Question, size: int) -> list[int]:
        own = [*question.gold, *question.related]
        if size > len(own):
            others = np.setdiff1d(np.arange(len(self._pool)), own).tolist()
            return [*own, *self._stream.python.sample(others, size - len(own))]
        wanted = max(0, size - len(question.gold))
        return [*question.gold, *self._stream.python.sample(question.related, wanted)]


def frequent_words_bodies(
    task: FrequentWordsTask, encoder: Encoder, stream: Stream, limit: int, length: int, budget: int
) -> Iterator[Body]:
    """fwe: the number of words grows by a 32nd of the length until one sample passes `limit` tokens."""
    step = length // 32
    size = length // task.word_letters
    first = _draw_coded_words(task, stream)
    while first.tokens(size) < limit:
        size += step
    size -= step
    for index in count():
        draw = _draw_coded_words(task, stream)
        used = size
        while (tokens := draw.tokens(used)) > budget:
            if used - step < draw.smallest:
                raise TooShort(index, tokens)
            used -= step
        yield draw.body(used)


def _draw_coded_words(task: FrequentWordsTask, stream: Stream) -> Draw:
    def word() -> str:
        return "".join(stream.python.choices(string.ascii_lowercase, k=task.word_letters))

    words = [word() for _ in range(task.vocabulary_size)]
    while len(set(words)) < task.vocabulary_size:
        words.append(word())
    ranked = sorted(set(words))
    by_rank = [ranked[position] for position in stream.frozen(len(ranked))[1:]]
    return task.fill(by_rank, lambda slots: slots[stream.frozen(len(slots))], 0)

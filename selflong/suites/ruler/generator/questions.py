"""Questions over documents (qa_1: SQuAD, qa_2: HotpotQA)."""

from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from selflong.job import UserError
from selflong.suites.ruler.generator.segments import Chain, Encoder, SegmentTable, chained
from selflong.suites.ruler.generator.sources import Question, QuestionSet, load_questions
from selflong.suites.ruler.generator.tasks import Body, Draw
from selflong.suites.ruler.section import ANSWER_TOKENS

INSTRUCTION = (
    "Answer the question based on the given documents. Only give me the answer and do not output "
    "any other words."
)
_INTRO = f"{INSTRUCTION}\n\nThe following are given documents.\n\n"
ANSWER_PREFIX = " Answer:"
_BLOCK_TOKENS = 512
_SMALLEST_BLOCK, _LARGEST_BLOCK = 8, 64
"""Documents that are tokenised at a time: one for so many tokens of the budget, between these bounds."""


class QuestionTask:
    """qa_1 or qa_2."""

    generation_tokens = ANSWER_TOKENS["qa"]

    def __init__(self, encoder: Encoder, questions: Path) -> None:
        self._encoder = encoder
        self._path = questions
        self._segments = SegmentTable(encoder)
        self._heading_segments = np.zeros(0, dtype=np.int64)
        self._unit_of: np.ndarray | None = None

    @cached_property
    def questions(self) -> QuestionSet:
        return load_questions(self._path)

    def draw(self, rng: np.random.Generator, index: int, budget: int) -> Draw:
        """The question's documents among others, in an order drawn afresh; the size is in documents."""
        question = self.question(index)
        documents = self._fill_best(question, self._documents(rng, question, budget), budget)
        keys = rng.random(len(documents))
        return self.fill(question, documents, lambda size: np.argsort(keys[:size]), budget)

    def question(self, index: int) -> Question:
        """Question `index` in file order."""
        if index >= len(self.questions.questions):
            raise UserError(
                f"{self._path} holds {len(self.questions.questions)} questions: "
                "ask for no more samples"
            )
        return self.questions.questions[index]

    def fill(
        self,
        question: Question,
        documents: np.ndarray,
        order: Callable[[int], np.ndarray],
        budget: int,
    ) -> Draw:
        """The first documents (numbers, [documents]) in the order that `order` gives for their count."""
        intro, closing, fixed = self._fixed(question)
        segments = self._document_segments(documents)
        headings = self._headings(len(documents))
        sums = self._sums(documents)
        counts = self._segments.counts

        def tokens(size: int) -> int:
            return fixed + int(sums[size])

        def body(size: int) -> Body:
            listed = order(size)
            row = np.stack([headings[:size], segments[:size][listed]], axis=1).reshape(-1)
            ends = np.cumsum(counts[row])
            first = dict(
                zip(documents[:size][listed][::-1].tolist(), range(size)[::-1], strict=True)
            )
            depths = [
                float(ends[2 * first[number] - 1] / ends[-1]) if first[number] else 0.0
                for number in question.supporting
                if number in first
            ]
            return Body(
                chained([intro, self._segments.chain(row), closing]),
                ANSWER_PREFIX,
                list(question.answers),
                depths,
            )

        fits = int(np.searchsorted(sums, budget - fixed, side="right")) - 1
        return Draw(len(question.gold), fits, tokens, body)

    def _fixed(self, question: Question) -> tuple[Chain, Chain, int]:
        """What stands before and after the documents, and its tokens with the answer prefix."""
        intro = self._encoder.chain(_INTRO, "Document")
        closing = self._encoder.chain(f"{INSTRUCTION}\n\nQuestion: {question.text}")
        return intro, closing, len(intro) + len(closing) + len(self._encoder.chain(ANSWER_PREFIX))

    def _sums(self, documents: np.ndarray) -> np.ndarray:
        """int64 [documents + 1]: tokens of the first documents with their headings."""
        segments, headings = self._document_segments(documents), self._headings(len(documents))
        counts = self._segments.counts
        return np.concatenate([[0], np.cumsum(counts[segments] + counts[headings])])

    def _fill_best(self, question: Question, documents: np.ndarray, budget: int) -> np.ndarray:
        """The same documents, where the first that does not fit gives its place to the best that does."""
        sums = self._sums(documents)
        _, _, fixed = self._fixed(question)
        room = budget - fixed - sums
        size = int(np.searchsorted(-room, 0, side="right")) - 1
        if not len(question.gold) <= size < len(documents):
            return documents
        heading, late = self._headings(size + 1)[-1], self._document_segments(documents[size:])
        late = self._segments.counts[late] + self._segments.counts[heading]
        fitting = np.where(late <= room[size], late, 0)
        best = size + int(np.argmax(fitting))
        documents = documents.copy()
        documents[[size, best]] = documents[[best, size]]
        return documents

    def _documents(self, rng: np.random.Generator, question: Question, budget: int) -> np.ndarray:
        """More documents than the budget holds: the question's, its article's, others, others again."""
        size = max(_SMALLEST_BLOCK, min(_LARGEST_BLOCK, budget // _BLOCK_TOKENS))
        blocks = self._blocks(rng, question, size)
        chosen: list[np.ndarray] = []
        held = 0
        while held <= budget:
            chosen.append(next(blocks))
            segments = self._document_segments(chosen[-1])
            held += int(self._segments.counts[segments].sum())
        # The last document is chosen among some more.
        return np.concatenate([*chosen, next(blocks)])

    def _blocks(
        self, rng: np.random.Generator, question: Question, size: int
    ) -> Iterator[np.ndarray]:
        """Documents in the order of their choice, without end, about `size` at a time."""
        yield np.array(question.gold, dtype=np.int64)
        related = rng.permutation(np.array(question.related, dtype=np.int64))
        yield from np.array_split(related, len(related) // size + 1)
        left = np.ones(len(self.questions.documents), dtype=bool)
        left[[*question.gold, *question.related]] = False
        yield from _shuffled(rng, left, size)
        left[list(question.related)] = True
        if not left.any():
            raise UserError(
                f"{self._path} holds no document beyond those of a question: name a file with more"
            )
        while True:
            yield from _shuffled(rng, left, size)

    def _document_segments(self, documents: np.ndarray) -> np.ndarray:
        """Segments of documents, tokenised when they are first needed."""
        if self._unit_of is None:
            self._unit_of = np.full(len(self.questions.documents), -1, dtype=np.int64)
        fresh = np.unique(documents[self._unit_of[documents] < 0])
        if len(fresh):
            texts = [f":\n{self.questions.documents[number]}\n\n" for number in fresh.tolist()]
            self._unit_of[fresh] = self._segments.add(texts, before="Document")
        return self._unit_of[documents]

    def _headings(self, count: int) -> np.ndarray:
        """Segments of the first headings, up to the colon."""
        known = len(self._heading_segments)
        if known < count:
            texts = [f"Document {number}" for number in range(known + 1, count + 1)]
            self._heading_segments = np.concatenate(
                [self._heading_segments, self._segments.add(texts)]
            )
        return self._heading_segments[:count]


def _shuffled(rng: np.random.Generator, left: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The numbers that are True in `left`, in a random order, at most `size` at a time.

    The first blocks come by drawing until enough are new, so that few of many need no shuffle of all.
    """
    left = left.copy()
    while 2 * np.count_nonzero(left) > len(left):
        drawn = rng.integers(len(left), size=size)
        drawn = drawn[left[drawn]]
        _, first = np.unique(drawn, return_index=True)
        block = drawn[np.sort(first)]
        left[block] = False
        yield block
    rest = rng.permutation(np.flatnonzero(left))
    yield from np.array_split(rest, len(rest) // size + 1)


@lru_cache(maxsize=4)
def load_question_task(encoder: Encoder, questions: Path) -> QuestionTask:
    """The task over a file, its documents tokenised once for all lengths."""
    return QuestionTask(encoder, questions)

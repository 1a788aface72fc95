"""Needle in a haystack over depth and length.

The convention of the original test (https://github.com/gkamradt/LLMTest_NeedleInAHaystack): one sentence is
put into essays at a share of their length, right after the sentence that ends before it, and asked for at
the end; 35 depths and 35 lengths, both evenly spaced. The original let a model grade the answers; here, as is
usual since, the score is the share of the needle's content words that the answer holds. SelfLong does not
print its own settings. The essays are RULER's (`selflong.suites.ruler.generator`); another haystack, in
another language, comes with a wording of its own.
"""

import random
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from selflong.job import UserError
from selflong.suites.needle_grid.section import ANSWER_TOKENS, NeedleGrid, Wording, depths
from selflong.suites.prompt import Prompt, Respondent
from selflong.suites.ruler.generator.sources import haystack_text, suite_sources
from selflong.tokens import Tokenizer, message

TASK = "needle"
NEEDLE = "The best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day."
QUESTION = "What is the best thing to do in San Francisco?"
KEYWORDS = ("eat", "sandwich", "sit", "dolores", "park", "sunny", "day")

ORIGINAL = Wording(
    needle=NEEDLE,
    question=QUESTION,
    keywords=list(KEYWORDS),
    prompt="Answer the question at the end from the text alone, short and direct.\n\n"
    "{haystack}\n\nQuestion: {question}",
)
_WIDE_ENDS = "。！？"
_SENTENCE_END = re.compile(rf"(?<=[.!?।؟۔])\s+|(?<=[{_WIDE_ENDS}])\s*")


def prompts(suite: NeedleGrid, respondent: Respondent) -> Iterator[Prompt]:
    """Every cell of the grid."""
    essays = suite_sources(suite.named_files).essays
    return cells(suite, respondent.tokenizer, essays, respondent.lengths)


def wording_of(suite: NeedleGrid) -> Wording:
    """The suite's own, or the original test's."""
    return suite.wording or ORIGINAL


def cells(
    suite: NeedleGrid, tokenizer: Tokenizer, essays: Path, lengths: Sequence[int]
) -> Iterator[Prompt]:
    """Every cell of the grid `repeats` times; each repeat begins at another sentence of the essays.

    A prompt with its answer is at most the length, and shorter by less than the next sentence. Those of a
    repeat share their haystack and come from the deepest needle up: each shares all that lies before its
    needle with the one before it, and a server that keeps keys reads only the rest.
    """
    for length in lengths:
        for repeat in range(suite.repeats):
            start = random.Random(f"{suite.seed} {length} {repeat}").random()
            units = sentences(essays)
            haystack = _Haystack(tokenizer, units, wording_of(suite), start, length)
            for row, depth in reversed(list(enumerate(depths(suite)))):
                yield haystack.prompt(depth, index=repeat * suite.depths + row)


@cache
def sentences(essays: Path) -> tuple[str, ...]:
    """The haystack as sentences."""
    return tuple(filter(None, _SENTENCE_END.split(haystack_text(essays).strip())))


def _between(units: tuple[str, ...]) -> str:
    """What stands between two sentences: nothing where most of them end in a writing without spaces."""
    return "" if 2 * sum(unit[-1] in _WIDE_ENDS for unit in units) > len(units) else " "


@cache
def _sizes(tokenizer: Tokenizer, units: tuple[str, ...]) -> np.ndarray:
    """Tokens of each sentence inside a text."""
    between = _between(units)
    return tokenizer.count_many([f"{between}{unit}" for unit in units])


class _Haystack:
    """The sentences of one length, from a place in the essays on, repeated where they are too short."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        units: tuple[str, ...],
        wording: Wording,
        start: float,
        length: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._units = units
        self._between = _between(units)
        self._wording = wording
        self._first = int(start * len(units))
        self._length = length
        sizes = np.roll(_sizes(tokenizer, units), -self._first)
        room = length - ANSWER_TOKENS - len(self._ids(self._text(0, 0)))
        if room < 0:
            raise UserError(
                f"needle grid: length {length} is too short for the question alone; ask for at "
                f"least {length - room}"
            )
        rounds = room // int(sizes.sum()) + 1
        self._ends = np.concatenate([[0], np.cumsum(np.tile(sizes, rounds))])
        self._count = int(np.searchsorted(self._ends, room, side="right")) - 1

    def prompt(self, depth: float, index: int) -> Prompt:
        """The needle after as many whole sentences as fit into its share of the haystack."""
        for count in range(self._count, -1, -1):
            position = int(np.searchsorted(self._ends, depth * self._ends[count], "right")) - 1
            text = self._text(count, min(position, count))
            ids = self._ids(text)
            # Sizes of single sentences may not add up exactly.
            if len(ids) + ANSWER_TOKENS <= self._length:
                return Prompt(
                    task=TASK,
                    length=self._length,
                    index=index,
                    ids=ids,
                    text=self._tokenizer.decode(ids),
                    answers=tuple(self._wording.keywords),
                    answer_tokens=ANSWER_TOKENS,
                    depth=depth,
                    message=text,
                )
        raise AssertionError("the question alone fits, as __init__ found")

    def _text(self, count: int, position: int) -> str:
        units = [self._units[(self._first + i) % len(self._units)] for i in range(count)]
        whole = [*units[:position], self._wording.needle, *units[position:]]
        # Not by str.format: braces of a haystack or a wording are text.
        before, _, after = self._wording.prompt.partition("{haystack}")
        after = after.replace("{question}", self._wording.question)
        return f"{before}{self._between.join(whole)}{after}"

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.prompt_ids([message("user", text)])

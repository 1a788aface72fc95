"""Needles in a haystack: eight tasks over three haystacks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from selflong.suites.ruler.generator.haystacks import (
    Essays,
    Lines,
    Sentences,
    load_essays,
    noise_lines,
)
from selflong.suites.ruler.generator.segments import Chain, Encoder, SegmentTable, chained
from selflong.suites.ruler.generator.sources import KeyWords, Sources, load_key_words
from selflong.suites.ruler.generator.tasks import Body, Draw, NeedleSpec
from selflong.suites.ruler.section import ANSWER_TOKENS

_SMALLEST_NUMBER, _LARGEST_NUMBER = 10**6, 10**7 - 1
_FIRST_LINES = 64
"""Lines that are tokenised before it is known how many tokens a line has."""


class Needle(NamedTuple):
    key: str
    value: str


@dataclass(frozen=True)
class Hidden:
    """Needles in the order of the text, and what is asked about them."""

    needles: tuple[Needle, ...]
    queries: tuple[str, ...]
    answers: tuple[str, ...]
    places: Callable[[np.ndarray], Sequence[int]]
    """From the tokens [borders] before each place to the place of each needle, ascending."""


class _KeySegments(NamedTuple):
    """The segments that the lines of needles share."""

    table: SegmentTable
    """Segment 0 stands before the key, segment 1 after it; then adjectives and nouns where keys are words."""
    adjectives: np.ndarray
    """int64 [adjectives]: their segments"""
    nouns: np.ndarray
    """int64 [nouns]: their segments"""


class _Slice(NamedTuple):
    """Sentences of a haystack."""

    start: int
    stop: int


class NeedleTask:
    """One of the eight needle tasks."""

    generation_tokens = ANSWER_TOKENS["niah"]

    def __init__(self, spec: NeedleSpec, encoder: Encoder, sources: Sources) -> None:
        self.spec = spec
        self._encoder = encoder
        self._sources = sources
        self._kind = spec.value_kind
        if spec.queries * spec.values == 1:
            self._kind_asked = spec.value_kind.removesuffix("s")
            self._intro = (
                f"A special magic {self._kind_asked} is hidden within the following text. Make sure "
                f"to memorize it. I will quiz you about the {self._kind_asked} afterwards.\n"
            )
        else:
            self._kind_asked = spec.value_kind
            self._intro = (
                f"Some special magic {self._kind} are hidden within the following text. Make sure "
                f"to memorize it. I will quiz you about the {self._kind} afterwards.\n"
            )

    @cached_property
    def essays(self) -> Essays:
        return load_essays(self._encoder, self._sources)

    @cached_property
    def _words(self) -> KeyWords:
        return load_key_words()

    def draw(self, rng: np.random.Generator, index: int, budget: int) -> Draw:
        """Needles at depths that are uniform over the context's tokens, with no two equal keys."""
        (draw,) = self.draws(rng, budget, questions=1)
        return draw

    def draws(self, rng: np.random.Generator, budget: int, questions: int) -> list[Draw]:
        """One haystack with its needles, and questions about it that begin at one key after the other."""
        lines = 0
        if self.spec.haystack == "needles":
            lines = self._lines_for(budget)
        keys = self._draw_keys(rng, self.spec.keys + lines)
        values = _draw_values(rng, self.spec.value_kind, self.spec.keys * self.spec.values + lines)
        own = keys.texts(range(self.spec.keys))
        of_key = [
            values[position : position + self.spec.values]
            for position in range(0, self.spec.keys * self.spec.values, self.spec.values)
        ]
        needles = [
            Needle(key, value) for key, group in zip(own, of_key, strict=True) for value in group
        ]
        order = rng.permutation(len(needles))
        asked = rng.permutation(self.spec.keys)
        depths = np.sort(rng.random(len(needles)))

        def hidden(question: int) -> Hidden:
            positions = np.roll(asked, -question)[: self.spec.queries]
            return Hidden(
                needles=tuple(needles[position] for position in order),
                queries=tuple(own[position] for position in positions),
                answers=tuple(value for position in positions for value in of_key[position]),
                places=lambda borders: _places(depths, borders),
            )

        every = map(hidden, range(questions))
        if self.spec.haystack == "essays":
            return [self.hide_in_essays(each, budget) for each in every]
        if self.spec.haystack == "noise":
            around = self._noise(budget)
        else:
            around = self.needle_lines(keys, self.spec.keys, values[len(needles) :], budget)
        return [self.hide_in_lines(each, around, budget) for each in every]

    # ------------------------------------------------------------------------------------- essays

    def hide_in_essays(self, hidden: Hidden, budget: int) -> Draw:
        """Needles between the sentences of the first words of the essays; the size is in words."""

        def tokens(size: int) -> int:
            sentences = self.essays.cut(size)
            pieces, closing = self._lay_out(hidden, sentences)
            return (
                len(self._encoder.chain(self._intro))
                + sum(self._piece_tokens(piece, sentences) for piece in pieces)
                + len(self._encoder.chain(closing))
                + len(self._encoder.chain(self.answer_prefix(hidden)))
            )

        def body(size: int) -> Body:
            sentences = self.essays.cut(size)
            pieces, closing = self._lay_out(hidden, sentences)
            message = chained(
                [
                    self._encoder.chain(self._intro),
                    *(self._piece_chain(piece, sentences) for piece in pieces),
                    self._encoder.chain(closing),
                ]
            )
            return self._body(hidden, message, sentences.borders)

        texts = [*(f" {self._line(needle)}" for needle in hidden.needles), self._question(hidden)]
        texts += [self._intro, self.answer_prefix(hidden)]
        room = budget - sum(len(self._encoder.chain(text)) for text in texts)
        return Draw(1, max(1, self.essays.words_for(max(0, room))), tokens, body)

    def _lay_out(self, hidden: Hidden, sentences: Sentences) -> tuple[list[str | _Slice], str]:
        """What stands in the prompt after the introduction, and its end up to the question.

        Sentences and needles are joined by one space each, also where no sentence stands beside a needle.
        """
        places = [*hidden.places(sentences.borders), len(sentences)]
        pieces: list[str | _Slice] = []
        before = 0
        for needle, place in zip([*hidden.needles, None], places, strict=True):
            if pieces and place == before:
                pieces.append(" ")
            elif pieces:
                pieces.append(_Slice(before, place))
            elif place:
                # The context begins without a space.
                pieces += [sentences.text(0)[1:], _Slice(1, place)]
            if needle is not None:
                pieces.append(f" {self._line(needle)}")
            before = place
        end = ""
        while len(end) < 2:
            last = pieces.pop()
            if isinstance(last, str):
                end = last + end
            elif last.start < last.stop:
                end = sentences.text(last.stop - 1) + end
                pieces.append(_Slice(last.start, last.stop - 1))
        return pieces, f"{end}\n{self._question(hidden)}"

    def _piece_tokens(self, piece: str | _Slice, sentences: Sentences) -> int:
        if isinstance(piece, str):
            return len(self._encoder.chain(piece))
        return int(sentences.borders[piece.stop] - sentences.borders[piece.start])

    def _piece_chain(self, piece: str | _Slice, sentences: Sentences) -> Chain:
        if isinstance(piece, str):
            return self._encoder.chain(piece)
        return sentences.chain(piece.start, piece.stop)

    # -------------------------------------------------------------------------------------- lines

    def hide_in_lines(self, hidden: Hidden, lines: Lines, budget: int) -> Draw:
        """Needles between lines; the size is in lines."""
        around = [
            *(self._encoder.chain(f"{self._line(needle)}\n") for needle in hidden.needles),
            self._encoder.chain(self._intro),
            self._encoder.chain(self._question(hidden)),
            self._encoder.chain(self.answer_prefix(hidden)),
        ]
        fixed = sum(len(chain) for chain in around)

        def tokens(size: int) -> int:
            return fixed + int(lines.borders[size])

        def body(size: int) -> Body:
            borders = lines.borders[: size + 1]
            places = hidden.places(borders)
            pieces = [self._encoder.chain(self._intro)]
            before = 0
            for needle, place in zip(hidden.needles, places, strict=True):
                pieces.append(lines.chain(before, place))
                pieces.append(self._encoder.chain(f"{self._line(needle)}\n"))
                before = place
            pieces.append(lines.chain(before, size))
            pieces.append(self._encoder.chain(self._question(hidden)))
            return self._body(hidden, chained(pieces), borders)

        fits = int(np.searchsorted(lines.borders, budget - fixed, side="right")) - 1
        return Draw(1, fits, tokens, body)

    def _noise(self, budget: int) -> Lines:
        (per_line,) = noise_lines(self._encoder, 1).table.counts
        return noise_lines(self._encoder, max(1, budget // int(per_line) + 1))

    @cached_property
    def _key_segments(self) -> "_KeySegments":
        table = SegmentTable(self._encoder)
        before, after = self._line(Needle("\0", "\1")).split("\0")
        table.add([before.rstrip(" "), after.partition(" \1")[0]])
        if self.spec.key_kind == "uuids":
            return _KeySegments(table, np.zeros(0, np.int64), np.zeros(0, np.int64))
        adjectives = table.add([f" {adjective}" for adjective in self._words.adjectives])
        nouns = table.add([f"-{noun}" for noun in self._words.nouns])
        return _KeySegments(table, adjectives, nouns)

    def needle_lines(
        self, keys: "Keys", first: int, values: Sequence[str], room: float = math.inf
    ) -> Lines:
        """Lines like a needle's, from the keys beginning with number `first`.

        They end with the first line that goes beyond `room` tokens: what no prompt holds is not tokenised.
        """
        table = self._key_segments.table.copy()
        shortest = int(table.counts[:2].sum()) + 1
        rows: list[np.ndarray] = []
        known = held = 0
        per_line = max(shortest, room / _FIRST_LINES)
        while known < len(values) and held <= room:
            count = len(values) - known if room == math.inf else int((room - held) / per_line) + 1
            more = self._line_segments(table, keys, first + known, values[known : known + count])
            rows.append(more)
            known += len(more)
            held += int(table.counts[more].sum())
            per_line = max(shortest, held / known)
        return Lines(table, np.concatenate(rows))

    def _line_segments(
        self, table: SegmentTable, keys: "Keys", first: int, values: Sequence[str]
    ) -> np.ndarray:
        """int64 [values, segments]: lines of the fixed segments and of new ones, which go into `table`."""
        value_segments = table.add([f" {value}.\n" for value in values])
        before, after = np.zeros(len(values), np.int64), np.ones(len(values), np.int64)
        if isinstance(keys, WordKeys):
            own = slice(first, first + len(values))
            key_segments = [
                self._key_segments.adjectives[keys.adjectives[own]],
                self._key_segments.nouns[keys.nouns[own]],
            ]
        else:
            texts = keys.texts(range(first, first + len(values)))
            key_segments = [table.add([f" {key}" for key in texts])]
        return np.stack([before, *key_segments, after, value_segments], axis=1)

    def _lines_for(self, budget: int) -> int:
        """More lines than the budget can hold."""
        table = self._key_segments.table
        # A key and a value are never less than a token for three digits or letters.
        shortest = int(table.counts[:2].sum()) + (3 if self.spec.key_kind == "words" else 24)
        return max(2, budget // shortest + 1)

    def _draw_keys(self, rng: np.random.Generator, count: int) -> "Keys":
        if self.spec.key_kind == "uuids":
            return UuidKeys(tuple(_uuids(rng, count)))
        total = len(self._words.adjectives) * len(self._words.nouns)
        numbers = rng.choice(total, size=count, replace=False, shuffle=True)
        return WordKeys(self._words, *np.divmod(numbers, len(self._words.nouns)))

    # ------------------------------------------------------------------------------------ wording

    def _line(self, needle: Needle) -> str:
        return f"One of the special magic {self._kind} for {needle.key} is: {needle.value}."

    def _question(self, hidden: Hidden) -> str:
        what = "What is the" if self._kind_asked != self._kind else "What are all the"
        return (
            f"{what} special magic {self._kind_asked} for {_listed(hidden.queries)} "
            "mentioned in the provided text?"
        )

    def answer_prefix(self, hidden: Hidden) -> str:
        verb = "is" if self._kind_asked != self._kind else "are"
        return (
            f" The special magic {self._kind_asked} for {_listed(hidden.queries)} "
            f"mentioned in the provided text {verb}"
        )

    def _body(self, hidden: Hidden, message: Chain, borders: np.ndarray) -> Body:
        places = zip(hidden.needles, hidden.places(borders), strict=True)
        depths = [
            float(borders[place] / borders[-1])
            for needle, place in places
            if needle.key in hidden.queries
        ]
        return Body(message, self.answer_prefix(hidden), list(hidden.answers), depths)


@dataclass(frozen=True)
class WordKeys:
    """Adjective-noun keys by number."""

    words: KeyWords
    adjectives: np.ndarray
    nouns: np.ndarray

    def texts(self, positions: Sequence[int]) -> list[str]:
        return [
            f"{self.words.adjectives[self.adjectives[p]]}-{self.words.nouns[self.nouns[p]]}"
            for p in positions
        ]


@dataclass(frozen=True)
class UuidKeys:
    """Keys that are UUIDs."""

    keys: tuple[str, ...]

    def texts(self, positions: Sequence[int]) -> list[str]:
        return [self.keys[p] for p in positions]


Keys = WordKeys | UuidKeys


def _draw_values(rng: np.random.Generator, kind: str, count: int) -> list[str]:
    if kind == "uuids":
        return _uuids(rng, count)
    span = _LARGEST_NUMBER - _SMALLEST_NUMBER + 1
    numbers = rng.choice(span, size=count, replace=False, shuffle=True) + _SMALLEST_NUMBER
    return [str(number) for number in numbers.tolist()]


def _uuids(rng: np.random.Generator, count: int) -> list[str]:
    """Random UUIDs (RFC 9562, version 4)."""
    raw = np.frombuffer(rng.bytes(16 * count), dtype=np.uint8).reshape(count, 16).copy()
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    digits = raw.tobytes().hex()
    return [
        f"{digits[i : i + 8]}-{digits[i + 8 : i + 12]}-{digits[i + 12 : i + 16]}"
        f"-{digits[i + 16 : i + 20]}-{digits[i + 20 : i + 32]}"
        for i in range(0, 32 * count, 32)
    ]


def _places(depths: np.ndarray, borders: np.ndarray) -> list[int]:
    """The border nearest to each depth."""
    wanted = depths * borders[-1]
    after = np.clip(np.searchsorted(borders, wanted), 1, len(borders) - 1)
    nearer = wanted - borders[after - 1] < borders[after] - wanted
    return (after - nearer).tolist()


def _listed(queries: Sequence[str]) -> str:
    if len(queries) == 1:
        return queries[0]
    return f"{', '.join(queries[:-1])}, and {queries[-1]}"

"""Documents cut into chunks that a short context holds: at paragraph or sentence ends where possible."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from selflong.tokens import Tokenizer

# Best place first; the last resort is between two characters.
_BOUNDARIES = (
    re.compile(r"\n\s*\n"),
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?])[\"')\]]*\s+"),
    re.compile(r"\s+"),
)
JOINT = "\n\n"


@dataclass(frozen=True)
class Piece:
    """Text with the name of where it comes from: '<document id>#<start>-<end>', or a summary's id."""

    parent: str
    text: str


@dataclass(frozen=True)
class Chunk:
    """Consecutive pieces that one call reads."""

    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        return JOINT.join(piece.text for piece in self.pieces)

    @property
    def parents(self) -> list[str]:
        return [piece.parent for piece in self.pieces]


def split(text: str, limit: int, tokenizer: Tokenizer) -> list[tuple[int, int]]:
    """Spans (start, end) in characters that cover `text` without a gap, each of at most `limit` tokens.

    A single character of more than `limit` tokens is a span of its own.
    """
    return list(_split(text, 0, len(text), limit, tokenizer, 0)) if text else []


def whole(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Places of the spans at least half as long as the longest: the rest at a document's end can be a few
    words, which give no topic."""
    longest = max(end - start for start, end in spans)
    return [place for place, (start, end) in enumerate(spans) if 2 * (end - start) >= longest]


def _split(
    text: str, start: int, end: int, limit: int, tokenizer: Tokenizer, level: int
) -> Iterator[tuple[int, int]]:
    if end - start <= 1 or tokenizer.count(text[start:end]) <= limit:
        yield (start, end)
        return
    units = _units(text, start, end, level)
    while len(units) == 1:
        level += 1
        units = _units(text, start, end, level)
    counts = tokenizer.count_many([text[first:last] for first, last in units]).tolist()
    for group in _fill(counts, limit):
        first, last = units[group.start][0], units[group.stop - 1][1]
        # A unit that is too long alone is cut at the next best place.
        deeper = level + 1 if len(group) == 1 else level
        yield from _split(text, first, last, limit, tokenizer, deeper)


def _units(text: str, start: int, end: int, level: int) -> list[tuple[int, int]]:
    """Spans between the boundaries of a level; two halves at the last one."""
    if level >= len(_BOUNDARIES):
        middle = (start + end) // 2
        return [(start, middle), (middle, end)]
    cuts = [match.end() for match in _BOUNDARIES[level].finditer(text, start, end)]
    bounds = sorted({start, end, *cuts})
    return list(pairwise(bounds))


def _fill(counts: Sequence[int], limit: int) -> Iterator[range]:
    """Ranges of consecutive units whose counts add up to at most `limit`; never all units in one."""
    first, total = 0, 0
    for position, count in enumerate(counts):
        last_of_all = first == 0 and position == len(counts) - 1
        if position > first and (total + count > limit or last_of_all):
            yield range(first, position)
            first, total = position, 0
        total += count
    yield range(first, len(counts))


def document_pieces(
    documents: Sequence[tuple[str, str]], limit: int, tokenizer: Tokenizer, heading: str = ""
) -> list[Piece]:
    """Every document, (id, text), cut into pieces of at most `limit` tokens.

    heading: stands before each piece and counts; its `{number}` is the document's place, from 1.
    """
    room = max(1, limit - tokenizer.count(heading.format(number=len(documents))))
    return [
        Piece(f"{document}#{start}-{end}", heading.format(number=number) + text[start:end])
        for number, (document, text) in enumerate(documents, 1)
        for start, end in split(text, room, tokenizer)
    ]


def pack(pieces: Sequence[Piece], limit: int, tokenizer: Tokenizer) -> list[Chunk]:
    """Consecutive pieces joined into chunks of at most `limit` tokens, all of them, in order.

    A piece that alone has more is a chunk of its own.
    """
    chunks: list[Chunk] = []
    current: tuple[Piece, ...] = ()
    for piece in pieces:
        longer = Chunk((*current, piece))
        if current and tokenizer.count(longer.text) > limit:
            chunks.append(Chunk(current))
            longer = Chunk((piece,))
        current = longer.pieces
    return [*chunks, Chunk(current)] if current else chunks

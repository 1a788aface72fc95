"""Variable tracking as the reference draws it; see `reference`."""

import string
from collections.abc import Callable, Sequence

from selflong.suites.ruler.generator.haystacks import NOISE
from selflong.suites.ruler.generator.reference import (
    Candidate,
    ReferenceTask,
    Stream,
    candidate,
    reference_bodies,
    stepwise_size,
)
from selflong.suites.ruler.generator.segments import Chain, Encoder, SegmentTable, chained
from selflong.suites.ruler.generator.tasks import Body, Draw
from selflong.suites.ruler.generator.tracing import (
    EXAMPLE_TOKENS,
    HOPS,
    INTRO,
    VariableChain,
)
from selflong.suites.ruler.section import ANSWER_TOKENS

Write = Callable[[Stream, VariableChain, int], str]
"""Draws places for a chain among so many noise lines; gives the prompt up to the question."""


class _Example(ReferenceTask):
    """The worked example, sized like a sample for 500 tokens."""

    step = 5

    def __init__(self, encoder: Encoder, stream: Stream, write: Write) -> None:
        super().__init__(encoder, stream)
        self._write = write

    def draw(self, index: int, size: int) -> Candidate:
        chain = _draw_chain(self._stream, 3)
        text = self._write(self._stream, chain, size)
        body = Body(self._encoder.chain(text), chain.answer_prefix, list(chain.names), [])
        asked = self._encoder.chain(text + chain.answer_prefix)
        answered = self._encoder.chain(f"{text}{chain.answer_prefix} {list(chain.names)}")
        return Candidate(len(asked), len(answered), lambda: body)


class Tracing2024(ReferenceTask):
    """vt of ruler_2024: assignments stand between noise lines without line ends of their own."""

    def __init__(self, encoder: Encoder, stream: Stream, chat: bool) -> None:
        super().__init__(encoder, stream)
        self._lead = "" if chat else " "
        write = _write_spaced_for_chat if chat else _write_spaced
        drawn = _Example(encoder, stream, write)
        budget = EXAMPLE_TOKENS - ANSWER_TOKENS["vt"]
        size = stepwise_size(drawn, budget)
        self._example, self._names = _solved(next(reference_bodies(drawn, size, budget)))
        self._example_tokens = len(encoder.chain(f"{self._example}\n\n"))
        self._noise = SegmentTable(encoder)
        self._noise.add([f" {NOISE}\n"])

    def draw(self, index: int, size: int) -> Candidate:
        chain = _draw_chain(self._stream, 5)
        draw = self._fill(INTRO, chain, _draw_places(self._stream, size), size)
        found = candidate(self._encoder, draw, size, chain.answer_prefix, f" {list(chain.names)}")
        example = self._example_tokens
        return Candidate(found.tokens + example, found.with_answer + example, found.body)

    def sample(self, index: int, size: int) -> Candidate:
        chain = _draw_chain(self._stream, 5)
        places = _draw_places(self._stream, size)
        example = _renamed(self._example, self._names, self._stream)
        draw = self._fill(f"{self._lead}{example}\n\n\n\n{INTRO}", chain, places, size)
        return Candidate(draw.tokens(size), draw.tokens(size), lambda: draw.body(size))

    def _fill(self, opening: str, chain: VariableChain, places: Sequence[int], size: int) -> Draw:
        first_line = [] if places[0] == 0 else [self._encoder.chain(f"{NOISE}\n")]
        first_link = self._encoder.chain(f"{' ' if first_line else ''}{chain.lines[0]}")
        links = [first_link, *(self._encoder.chain(f" {line}") for line in chain.lines[1:])]
        opened = self._encoder.chain(opening, before="VAR")
        closing = self._encoder.chain(f" {NOISE}\n\n{chain.question}")
        prefix = self._encoder.chain(chain.answer_prefix)
        (noise_tokens,) = self._noise.counts
        fixed = sum(map(len, [opened, *first_line, *links, closing, prefix]))

        def noise(lines: int) -> Chain:
            return self._noise.chain([0] * lines)

        def body(_: int) -> Body:
            pieces = [opened, *first_line]
            before = len(first_line)
            for place, link in zip(places, links, strict=True):
                pieces += [noise(place - before), link]
                before = place
            pieces += [noise(size - 1 - before), closing]
            depths = [place / size for place in places]
            return Body(chained(pieces), chain.answer_prefix, list(chain.names), depths)

        def tokens(_: int) -> int:
            return fixed + (size - 1 - len(first_line)) * int(noise_tokens)

        return Draw(self.step, size, tokens, body)


def _draw_chain(stream: Stream, letters: int) -> VariableChain:
    names: dict[str, None] = {}
    while len(names) <= HOPS:
        names["".join(stream.python.choices(string.ascii_uppercase, k=letters))] = None
    return VariableChain(tuple(names), int(stream.numpy.randint(10_000, 99_999)))


def _draw_places(stream: Stream, size: int) -> list[int]:
    return sorted(stream.python.sample(range(size), HOPS + 1))


def _write_spaced(stream: Stream, chain: VariableChain, size: int) -> str:
    return f"{INTRO}{_spaced(stream, chain, size)}\n{chain.question}"


def _write_spaced_for_chat(stream: Stream, chain: VariableChain, size: int) -> str:
    """With the template taken away: white space collapsed, and the question's last word lost with it."""
    context = _spaced(stream, chain, size)
    question = chain.question.rpartition(" ")[0]
    return f"{' '.join(INTRO.split())} {context} {question}"


def _spaced(stream: Stream, chain: VariableChain, size: int) -> str:
    """Noise lines and assignments with spaces between; few noise lines are cut at their full stops."""
    parts = [f"{NOISE}\n"] * size
    if size <= len(chain.lines):
        parts = [f"{part}." if part.strip() else part for line in parts for part in line.split(".")]
    places = _draw_places(stream, len(parts))
    for shift, (place, line) in enumerate(zip(places, chain.lines, strict=True)):
        parts.insert(place + shift, line)
    return " ".join(parts).replace(". \n", ".\n")


def _solved(body: Body) -> tuple[str, list[str]]:
    return f"{body.message.text}{body.answer_prefix} {' '.join(body.answers)}", body.answers


def _renamed(example: str, names: Sequence[str], stream: Stream) -> str:
    """The example with each of its names replaced wherever its letters stand."""
    for name in names:
        new = "".join(stream.python.choices(string.ascii_uppercase, k=len(name)))
        example = example.replace(name, new)
    return example

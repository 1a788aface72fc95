"""Variable tracking (vt): a chain of assignments between noise lines, after one worked example."""

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from selflong.suites.ruler.generator.haystacks import NOISE, Lines, noise_lines
from selflong.suites.ruler.generator.segments import Chain, Encoder, chained
from selflong.suites.ruler.generator.tasks import Body, Draw
from selflong.suites.ruler.section import ANSWER_TOKENS

HOPS = 4
EXAMPLE_TOKENS = 500
_LETTERS = string.ascii_uppercase


INTRO = "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n"


@dataclass(frozen=True)
class VariableChain:
    """Variables that hold one value, each assigned from the one before."""

    names: tuple[str, ...]
    value: int

    @property
    def lines(self) -> list[str]:
        links = zip(self.names, self.names[1:], strict=False)
        return [
            f"VAR {self.names[0]} = {self.value}",
            *(f"VAR {name} = VAR {before} " for before, name in links),
        ]

    @property
    def question(self) -> str:
        return f"Question: Find all variables that are assigned the value {self.value} in the text above."

    @property
    def answer_prefix(self) -> str:
        # The misspelling is the task's own.
        return (
            " Answer: According to the chain(s) of variable assignment in the text above, "
            f"{len(self.names)} variables are assgined the value {self.value}, they are: "
        )

    @property
    def solution(self) -> str:
        """What stands after a worked example's question."""
        return f"{self.answer_prefix} {' '.join(self.names)}"


class TracingTask:
    """vt."""

    generation_tokens = ANSWER_TOKENS["vt"]

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def draw(self, rng: np.random.Generator, index: int, budget: int) -> Draw:
        """A chain between noise lines, each assignment at a place of its own; the size is in lines."""
        example, chain = self._draw_chains(rng)
        opening = chained([self._example(example, rng), self._intro])
        depths = np.sort(rng.random(HOPS + 1))
        return self.fill(opening, chain, lambda size: _places(depths, size), budget)

    def fill(
        self,
        opening: Chain,
        chain: VariableChain,
        places: Callable[[int], Sequence[int]],
        budget: int,
    ) -> Draw:
        """Assignments before the noise lines that `places` names for a number of lines."""
        # No tokenizer writes a noise line of 92 letters in less than eight tokens.
        lines = noise_lines(self._encoder, max(HOPS + 2, budget // 8))
        text = _Assignments(opening, *self._link_chains(chain), lines)
        prefix = len(self._encoder.chain(chain.answer_prefix))

        def tokens(size: int) -> int:
            return text.tokens(size) + prefix

        def body(size: int) -> Body:
            depths = [place / size for place in places(size)]
            message = text.chain(size, places(size))
            return Body(message, chain.answer_prefix, list(chain.names), depths)

        guess = int(np.searchsorted(lines.borders, budget - tokens(1), side="right"))
        return Draw(HOPS + 2, guess, tokens, body)

    def _draw_chains(self, rng: np.random.Generator) -> tuple[VariableChain, VariableChain]:
        """The example's chain and the sample's, with values that differ."""
        first, second = (10_000 + rng.choice(90_000, size=2, replace=False)).tolist()
        return (
            VariableChain(_names(rng, HOPS + 1, letters=3), first),
            VariableChain(_names(rng, HOPS + 1, letters=5), second),
        )

    @cached_property
    def _intro(self) -> Chain:
        return self._encoder.chain(INTRO, before="VAR")

    def _link_chains(self, chain: VariableChain, ending: str = "") -> tuple[list[Chain], Chain]:
        """The assignments as lines, and the last line with the question and what follows it."""
        links = [self._encoder.chain(f"{line}\n", before="VAR") for line in chain.lines]
        # The last line ends twice: its tokens are counted with the question's.
        closing = f"{NOISE}\n{chain.question}{ending}"
        return links, self._encoder.chain(closing, before="VAR" if ending else "")

    def _example(self, chain: VariableChain, rng: np.random.Generator) -> Chain:
        """As many noise lines as fit 500 tokens with the chain between them, question and answer."""
        lines = noise_lines(self._encoder, EXAMPLE_TOKENS)
        links, closing = self._link_chains(chain, f"{chain.solution}\n\n")
        text = _Assignments(self._intro, links, closing, lines)
        room = EXAMPLE_TOKENS - text.tokens(1)
        size = max(HOPS + 2, int(np.searchsorted(lines.borders, room, side="right")))
        return text.chain(size, _places(np.sort(rng.random(HOPS + 1)), size))


@dataclass(frozen=True)
class _Assignments:
    """A chain's assignments between noise lines."""

    opening: Chain
    links: Sequence[Chain]
    closing: Chain
    """With the last noise line."""
    lines: Lines

    def tokens(self, size: int) -> int:
        """With `size` noise lines."""
        fixed = sum(map(len, (self.opening, *self.links, self.closing)))
        return fixed + int(self.lines.borders[size - 1])

    def chain(self, size: int, places: Sequence[int]) -> Chain:
        """With `size` noise lines, one assignment before each of `places`, ascending."""
        pieces = [self.opening]
        before = 0
        for place, link in zip(places, self.links, strict=True):
            pieces += [self.lines.chain(before, place), link]
            before = place
        return chained([*pieces, self.lines.chain(before, size - 1), self.closing])


def _names(rng: np.random.Generator, count: int, letters: int) -> tuple[str, ...]:
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(_LETTERS[number] for number in rng.integers(26, size=letters))] = None
    return tuple(names)


def _places(depths: np.ndarray, size: int) -> list[int]:
    """A place before one of `size` lines for each depth, ascending."""
    return [int(depth * size) for depth in depths]

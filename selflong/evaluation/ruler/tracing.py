"""Variable tracking (vt): a chain of assignments between noise lines, after one worked example."""

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from selflong.evaluation.ruler.haystacks import NOISE, noise_lines
from selflong.evaluation.ruler.tasks import TRACING_TOKENS, Body, Draw
from selflong.evaluation.ruler.units import Encoder, chained

HOPS = 4
EXAMPLE_TOKENS = 500
_LETTERS = tuple(string.ascii_uppercase)


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

    def lined_up(self, size: int, places: Sequence[int]) -> str:
        """A prompt of `size` noise lines, one assignment before each of `places`, up to the question."""
        lines = [NOISE] * size
        for place, line in zip(reversed(places), reversed(self.lines), strict=True):
            lines.insert(place, line)
        return INTRO + "\n".join([*lines, self.question])


class TracingTask:
    """vt."""

    generation_tokens = TRACING_TOKENS

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def draw(self, rng: np.random.Generator, index: int, budget: int) -> Draw:
        """A chain between noise lines, each assignment at a place of its own; the size is in lines."""
        example, chain = self._draw_chains(rng)
        example_text = self._example(example, rng)
        depths = np.sort(rng.random(HOPS + 1))
        opening = f"{example_text}\n\n{INTRO}"
        return self.fill(opening, chain, lambda size: _places(depths, size), budget)

    def fill(
        self,
        opening: str,
        chain: VariableChain,
        places: Callable[[int], Sequence[int]],
        budget: int,
    ) -> Draw:
        """Assignments before the noise lines that `places` names for a number of lines."""
        intro = self._encoder.chain(opening, before="VAR")
        links = [self._encoder.chain(f"{line}\n", before="VAR") for line in chain.lines]
        # The last line ends twice: its tokens are counted with the question's.
        closing = self._encoder.chain(f"{NOISE}\n{chain.question}")
        prefix = self._encoder.chain(chain.answer_prefix)
        # No tokenizer writes a noise line of 92 letters in less than eight tokens.
        lines = noise_lines(self._encoder, max(HOPS + 2, budget // 8))
        fixed = sum(map(len, (intro, *links, closing, prefix)))

        def tokens(size: int) -> int:
            return fixed + int(lines.borders[size - 1])

        def body(size: int) -> Body:
            pieces = [intro]
            before = 0
            for place, link in zip(places(size), links, strict=True):
                pieces += [lines.chain(before, place), link]
                before = place
            pieces += [lines.chain(before, size - 1), closing]
            depths = [place / size for place in places(size)]
            return Body(chained(pieces), chain.answer_prefix, list(chain.names), depths)

        guess = int(np.searchsorted(lines.borders, budget - fixed, side="right"))
        return Draw(HOPS + 2, guess, tokens, body)

    def _draw_chains(self, rng: np.random.Generator) -> tuple[VariableChain, VariableChain]:
        """The example's chain and the sample's, with values that differ."""
        first, second = rng.choice(np.arange(10_000, 100_000), size=2, replace=False).tolist()
        return (
            VariableChain(_names(rng, HOPS + 1, letters=3), first),
            VariableChain(_names(rng, HOPS + 1, letters=5), second),
        )

    def _example(self, chain: VariableChain, rng: np.random.Generator) -> str:
        """As many noise lines as fit 500 tokens with the chain between them, question and answer."""
        (noise,) = noise_lines(self._encoder, 1).table.counts
        fixed = self._encoder.chain(chain.lined_up(0, [0] * len(chain.lines)) + chain.solution)
        size = max(HOPS + 2, (EXAMPLE_TOKENS - len(fixed)) // int(noise))
        places = _places(np.sort(rng.random(HOPS + 1)), size)
        return chain.lined_up(size, places) + chain.solution


def _names(rng: np.random.Generator, count: int, letters: int) -> tuple[str, ...]:
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(rng.choice(_LETTERS, size=letters))] = None
    return tuple(names)


def _places(depths: np.ndarray, size: int) -> list[int]:
    """A place before one of `size` lines for each depth, ascending."""
    return [int(depth * size) for depth in depths]

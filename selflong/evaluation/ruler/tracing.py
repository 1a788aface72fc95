"""Variable tracking (vt): a chain of assignments between noise lines, after one worked example."""

import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selflong.evaluation.ruler.haystacks import NOISE, noise_lines
from selflong.evaluation.ruler.tasks import TRACING_TOKENS, Body, Draw
from selflong.evaluation.ruler.units import Encoder, chained

HOPS = 4
_EXAMPLE_TOKENS = 500
_LETTERS = tuple(string.ascii_uppercase)


@dataclass(frozen=True)
class Chain:
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


INTRO = "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n"


class TracingTask:
    """vt."""

    generation_tokens = TRACING_TOKENS

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def draw(self, rng: np.random.Generator, index: int, budget: int) -> Draw:
        """A chain between noise lines, each assignment at a place of its own; the size is in lines."""
        example, chain = self._draw_chains(rng)
        intro = self._encoder.chain(f"{self._example(example, rng)}\n\n{INTRO}", before="VAR")
        links = [self._encoder.chain(f"{line}\n", before="VAR") for line in chain.lines]
        # The last line ends twice: its tokens are counted with the question's.
        closing = self._encoder.chain(f"{NOISE}\n{chain.question}")
        prefix = self._encoder.chain(chain.answer_prefix)
        lines = noise_lines(self._encoder, max(HOPS + 2, budget // 8))
        fixed = sum(map(len, (intro, *links, closing, prefix)))
        depths = np.sort(rng.random(len(links)))

        def tokens(size: int) -> int:
            return fixed + int(lines.borders[size - 1])

        def body(size: int) -> Body:
            places = _distinct_places(depths, size)
            pieces = [intro]
            before = 0
            for place, link in zip(places, links, strict=True):
                pieces += [lines.chain(before, place), link]
                before = place
            pieces += [lines.chain(before, size - 1), closing]
            return Body(
                chained(pieces),
                chain.answer_prefix,
                list(chain.names),
                [place / size for place in places],
            )

        return Draw(
            HOPS + 2,
            int(np.searchsorted(lines.borders, budget - fixed, side="right")),
            tokens,
            body,
        )

    def _draw_chains(self, rng: np.random.Generator) -> tuple[Chain, Chain]:
        """The example's chain and the sample's, with values that differ."""
        first, second = rng.choice(np.arange(10_000, 100_000), size=2, replace=False).tolist()
        return (
            Chain(_names(rng, HOPS + 1, letters=3), first),
            Chain(_names(rng, HOPS + 1, letters=5), second),
        )

    def _example(self, chain: Chain, rng: np.random.Generator) -> str:
        """As many noise lines as fit 500 tokens with the chain between them, question and answer."""
        ending = f"{chain.question}{chain.answer_prefix} {' '.join(chain.names)}"
        (noise,) = noise_lines(self._encoder, 1).table.counts
        fixed = self._encoder.chain("\n".join([INTRO, *chain.lines, ending]))
        size = max(HOPS + 2, (_EXAMPLE_TOKENS - len(fixed)) // int(noise))
        lines = [NOISE] * size
        for place, line in zip(
            reversed(_distinct_places(np.sort(rng.random(HOPS + 1)), size)),
            reversed(chain.lines),
            strict=True,
        ):
            lines.insert(place, line)
        return "\n".join([INTRO.rstrip("\n"), "", *lines, ending])


def _names(rng: np.random.Generator, count: int, letters: int) -> tuple[str, ...]:
    names: dict[str, None] = {}
    while len(names) < count:
        names["".join(rng.choice(_LETTERS, size=letters))] = None
    return tuple(names)


def _distinct_places(depths: Sequence[float] | np.ndarray, size: int) -> list[int]:
    """A place before one of `size` lines for each depth, ascending."""
    return [int(depth * size) for depth in depths]

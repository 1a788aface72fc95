"""RULER's 13 tasks: what each asks for, and what every task's generator offers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from selflong.suites.ruler.generator.segments import Chain

Convention = Literal["ruler_exact", "ruler_2024"]


@dataclass(frozen=True)
class NeedleSpec:
    """A needle-in-a-haystack task (RULER, table 2)."""

    haystack: Literal["noise", "essays", "needles"]
    key_kind: Literal["words", "uuids"] = "words"
    value_kind: Literal["numbers", "uuids"] = "numbers"
    keys: int = 1
    values: int = 1
    """Of each key."""
    queries: int = 1


NEEDLE_TASKS = {
    "niah_single_1": NeedleSpec("noise"),
    "niah_single_2": NeedleSpec("essays"),
    "niah_single_3": NeedleSpec("essays", value_kind="uuids"),
    "niah_multikey_1": NeedleSpec("essays", keys=4),
    "niah_multikey_2": NeedleSpec("needles"),
    "niah_multikey_3": NeedleSpec("needles", key_kind="uuids", value_kind="uuids"),
    "niah_multivalue": NeedleSpec("essays", values=4),
    "niah_multiquery": NeedleSpec("essays", keys=4, queries=4),
}


@dataclass(frozen=True)
class Body:
    """A prompt without the chat template."""

    message: Chain
    """The user's message."""
    answer_prefix: str
    answers: list[str]
    depths: list[float]
    """Share of the context's tokens before each thing to be found, from 0 to 1."""


@dataclass(frozen=True)
class Draw:
    """All that chance decides in one sample, and what follows from it for a context of any size."""

    smallest: int
    guess: int
    """A size near the one that fills the budget."""
    tokens: Callable[[int], int]
    """Tokens of message and answer prefix at a size."""
    body: Callable[[int], Body]


class Task(Protocol):
    """What makes the samples of a task."""

    generation_tokens: int

    def draw(self, rng: np.random.Generator, index: int, budget: int) -> Draw:
        """Draw sample `index` for a context of about `budget` tokens, by the rules of ruler_exact."""
        ...

"""One question to a checkpoint, and what scores its answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Metric = Callable[[str, Sequence[str]], float]
"""Score from 0 to 1 of a prediction against its answers."""


@dataclass(frozen=True)
class Prompt:
    """One question to a checkpoint."""

    task: str
    length: int
    """Asked for, as the suite counts it."""
    index: int
    ids: Sequence[int]
    """What the model reads: template, BOS where the model has one, and answer prefix included."""
    text: str
    """The same as text, for whoever reads the predictions."""
    answers: tuple[str, ...]
    answer_tokens: int
    """Most tokens of the answer."""
    depth: float | None = None
    message: str | None = None
    """What the user says, for an endpoint that takes no token ids and writes its own template around it."""
    then: "Callable[[str], Prompt] | None" = None
    """What is asked after the answer, which is reasoning then: only the last answer is scored."""

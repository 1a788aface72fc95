"""One question to a checkpoint, and what scores its answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selflong.llm.protocol import Endpoint
    from selflong.suites.evaluation_job import Job
    from selflong.tokens import Tokenizer

Metric = Callable[[str, Sequence[str]], float]
"""Score from 0 to 1 of a prediction against its answers."""
Turn = tuple[str, str]
"""Role and text of a message."""


@dataclass(frozen=True)
class Respondent:
    """The checkpoint that a suite asks, behind a server, and the lengths that it is asked at."""

    job: "Job"
    tokenizer: "Tokenizer"
    endpoint: "Endpoint"
    lengths: Sequence[int]


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
    message: str | tuple[Turn, ...] | None = None
    """What the user says, or a conversation that ends with it, for an endpoint that takes no token ids and
    writes its own template around it."""
    then: "Callable[[str], Prompt] | None" = None
    """What is asked after the answer, which is reasoning then: only the last answer is scored."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The conversation of `message`; none where only token ids can be sent."""
        if self.message is None:
            return ()
        return (("user", self.message),) if isinstance(self.message, str) else self.message

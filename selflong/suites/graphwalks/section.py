"""Settings of GraphWalks."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selflong.recipe.section import Distinct, Positive
from selflong.suites.section import HubSuite

SAMPLES = 100
"""Of each problem at each length, about, in the authors' set."""


class GraphWalks(HubSuite):
    """OpenAI's GraphWalks (https://huggingface.co/datasets/openai/graphwalks).

    A sample counts at the length that holds its prompt and its answer: at most all of it, and more than half,
    counted by the asked model's tokenizer.
    """

    title: ClassVar[str] = "GraphWalks"

    kind: Literal["graphwalks"]
    problems: Annotated[list[Literal["parents", "bfs"]], Distinct] = Field(min_length=1)
    """Which problems are asked."""
    samples: Positive = SAMPLES
    """Most of each problem at each length: the first of the set."""
    answer_tokens: Positive = 4096
    """Most of an answer, what it thinks aloud included; more where the nodes alone need more."""

    filled: ClassVar[float] = 0.5  # a sample counts at the length of which it takes more
    asks_endpoints: ClassVar[bool] = True

    @property
    def asked_tasks(self) -> tuple[str, ...]:
        """A task for each problem."""
        return tuple(self.problems)

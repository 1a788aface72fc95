"""Settings of MRCR."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selflong.recipe.section import Distinct, Positive
from selflong.suites.section import HubSuite

SAMPLES = 100
"""Of each number of needles at each length in the authors' set."""


class Mrcr(HubSuite):
    """OpenAI's multi-round co-reference resolution (https://huggingface.co/datasets/openai/mrcr).

    A sample counts at the length that holds its prompt and its answer: at most all of it, and more than half,
    as the authors' bins; they count with o200k_base, here the asked model's tokenizer counts.
    """

    title: ClassVar[str] = "MRCR"

    kind: Literal["mrcr"]
    needles: Annotated[list[Literal[2, 4, 8]], Distinct] = Field(min_length=1)
    """How many answers to the same request the conversation holds."""
    samples: Positive = SAMPLES
    """Most of each number of needles at each length: the first of the set."""
    answer_tokens: Positive = 4096
    """Most of an answer."""

    filled: ClassVar[float] = 0.5  # a sample counts at the length of which it takes more
    asks_endpoints: ClassVar[bool] = True

    @property
    def asked_tasks(self) -> tuple[str, ...]:
        """A task for each number of needles."""
        return tuple(map(task_name, self.needles))


def task_name(needles: int) -> str:
    """Of the samples with so many needles."""
    return f"{needles} needles"

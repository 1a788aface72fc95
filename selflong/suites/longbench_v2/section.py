"""Settings of LongBench v2."""

from itertools import product
from typing import ClassVar, Literal

from selflong.suites.section import HubSuite

DIFFICULTIES = ("easy", "hard")
CONTEXTS = ("short", "medium", "long")
"""Of the documents: up to 32k words, up to 128k, more."""


class LongBenchV2(HubSuite):
    """LongBench v2 (https://github.com/THUDM/LongBench) as its authors ask it, but greedily.

    A length is the most tokens of a prompt: a longer one loses its middle. The authors keep 120,000 for
    models of 131,072. Where a model has less room beside its template and the answer, less is kept.
    """

    title: ClassVar[str] = "LongBench v2"

    kind: Literal["longbench_v2"]
    chain_of_thought: bool = False
    """Let the model reason first, then ask for its choice without the documents."""

    asks_endpoints: ClassVar[bool] = True
    counts_samples: ClassVar[bool] = True
    hub_files: ClassVar[str] = "data.json"

    @property
    def asked_tasks(self) -> tuple[str, ...]:
        """A task for each kind of context and difficulty."""
        return tuple(task_name(*pair) for pair in product(CONTEXTS, DIFFICULTIES))


def task_name(context: str, difficulty: str) -> str:
    """Of the questions on such contexts that are so difficult."""
    return f"{context}, {difficulty}"

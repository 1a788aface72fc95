"""Settings of the suite of shared haystacks."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selflong.recipe.section import Distinct, Positive, Seed, is_none
from selflong.suites.ruler.section import RULER_TASKS
from selflong.suites.section import TEXTS_OF_RULER, HaystackFile, PromptLengthsSection

NEEDLE_TASKS = tuple(task for task in RULER_TASKS if task.startswith("niah"))
NeedleTaskName = Literal[NEEDLE_TASKS]  # type: ignore[valid-type]


class SharedHaystack(PromptLengthsSection):
    """Needle tasks in RULER's wording, with `questions` about each haystack in place of one.

    A server that keeps keys reads a haystack once for all of its questions. A haystack hides a key for each
    question, more than RULER's, so that its scores are a suite's of its own.
    """

    title: ClassVar[str] = "Shared haystacks"

    kind: Literal["shared_haystack"]
    tasks: Annotated[list[NeedleTaskName], Distinct] = Field(min_length=1)
    """Of RULER's needle tasks, by which haystack, keys, values and questions are made."""
    haystacks: Positive
    """Of each task at each length."""
    questions: Positive = 10
    """About each of them."""
    seed: Seed
    chat: bool = True
    """Whether prompts are put into the model's chat template."""
    answer_prefix: bool = True
    """Whether the prompt ends in the beginning of the answer, as RULER's do."""
    files: HaystackFile | None = Field(default=None, exclude_if=is_none)

    packages: ClassVar[tuple[str, ...]] = TEXTS_OF_RULER
    filled: ClassVar[float] = 0.9
    asks_endpoints: ClassVar[bool] = True
    decides_texts: ClassVar[frozenset[str]] = frozenset({"kind", "tasks", "files"})
